-- Dissects traces of the pes_sim serial protocol (docs/protocol.md): one frame a packet, in COBS, link type USER0.
-- What it knows of services and fields is in pes_tables.lua, which is generated. README.md says how to install both.
-- SPDX-License-Identifier: Apache-2.0

local here = debug.getinfo(1, "S").source:match("^@(.*[/\\])") or ""
local tables = dofile(here .. "pes_tables.lua")

local HEADER, CRC = 20, 4
local EVENT, REQUEST, REPLY = 3, 1, 2

-- Bits: Wireshark's Lua has a library for them up to 5.2, and operators from 5.3 on.
local bits = bit32 or bit
local band = bits and bits.band or load("return function(a, b) return a & b end")()
local bxor = bits and bits.bxor or load("return function(a, b) return a ~ b end")()
local rshift = bits and bits.rshift or load("return function(a, n) return a >> n end")()

local pes = Proto("pes", "pes_sim serial protocol")
local f = {
  version = ProtoField.uint8("pes.version", "Version"),
  kind = ProtoField.uint8("pes.kind", "Kind", base.DEC, tables.kinds),
  service = ProtoField.uint8("pes.service", "Service", base.HEX, tables.services),
  event = ProtoField.uint8("pes.event", "Event", base.HEX, tables.events),
  name = ProtoField.string("pes.name", "Name"),
  status = ProtoField.uint8("pes.status", "Status", base.HEX, tables.statuses),
  request_id = ProtoField.bytes("pes.request_id", "Request id"),
  body = ProtoField.bytes("pes.body", "Body"),
  crc = ProtoField.uint32("pes.crc", "CRC-32", base.HEX),
  crc_good = ProtoField.bool("pes.crc.good", "CRC is right"),
  request_in = ProtoField.framenum("pes.request_in", "Request in", base.NONE, frametype.REQUEST),
  reply_in = ProtoField.framenum("pes.reply_in", "Reply in", base.NONE, frametype.RESPONSE),
  time = ProtoField.relative_time("pes.time", "Time since the request"),
  entry = ProtoField.bytes("pes.entry", "Entry"),
  detail = ProtoField.string("pes.error.detail", "Detail"),
}
for number, name in pairs(tables.error_fields) do
  if name ~= "detail" then
    f["error_" .. number] = ProtoField.string("pes.error." .. name, name)
  end
end
local KINDS = {
  ["uint"] = ProtoField.uint64,
  ["int"] = ProtoField.int64,
  ["text"] = ProtoField.string,
  ["bytes"] = ProtoField.bytes,
  ["list of text"] = ProtoField.string,
  ["list of bytes"] = ProtoField.bytes,
}
for number, field in pairs(tables.fields) do
  f["field_" .. number] = KINDS[field.form]("pes.field." .. field.name, field.name, nil, nil, nil, field.meaning)
end
pes.fields = f

local e = {
  bad_crc = ProtoExpert.new("pes.crc.bad", "The CRC does not match", expert.group.CHECKSUM, expert.severity.ERROR),
  bad_cobs = ProtoExpert.new("pes.cobs.bad", "This is no COBS", expert.group.MALFORMED, expert.severity.ERROR),
  short = ProtoExpert.new("pes.short", "Too few bytes for a frame", expert.group.MALFORMED, expert.severity.ERROR),
  bad_body = ProtoExpert.new("pes.body.bad", "This is no map of known fields", expert.group.MALFORMED,
    expert.severity.ERROR),
  refused = ProtoExpert.new("pes.refused", "Refused", expert.group.RESPONSE_CODE, expert.severity.NOTE),
  retry = ProtoExpert.new("pes.retry", "The same request once more", expert.group.SEQUENCE, expert.severity.NOTE),
}
pes.experts = e

-- Replies find their request, and requests their reply, by request id and service.
local newest, request_of, reply_of, time_of, retry_of = {}, {}, {}, {}, {}
function pes.init()
  newest, request_of, reply_of, time_of, retry_of = {}, {}, {}, {}, {}
end

local function undo_cobs(stuffed)
  local parts, at = {}, 1
  while at <= #stuffed do
    local code = stuffed:byte(at)
    if code == 0 or at + code > #stuffed + 1 then
      return nil
    end
    parts[#parts + 1] = stuffed:sub(at + 1, at + code - 1)
    at = at + code
    if code < 255 and at <= #stuffed then
      parts[#parts + 1] = "\0"
    end
  end
  return #stuffed > 0 and table.concat(parts) or nil
end

local remainders = {}
for byte = 0, 255 do
  local crc = byte
  for _ = 1, 8 do
    local odd = band(crc, 1) == 1
    crc = rshift(crc, 1)
    if odd then
      crc = bxor(crc, 0xEDB88320)
    end
  end
  remainders[byte] = crc % 4294967296
end

local function crc32(data)
  local crc = 4294967295
  for at = 1, #data do
    crc = bxor(rshift(crc, 8), remainders[band(bxor(crc, data:byte(at)), 255)]) % 4294967296
  end
  return 4294967295 - crc
end

-- CBOR: what stands at `at`: major type, number (high and low half), where its content begins. Raises where it is cut.
local function head(tvb, at)
  local first = tvb(at, 1):uint()
  local major, info = math.floor(first / 32), first % 32
  at = at + 1
  if info < 24 then
    return major, 0, info, at
  elseif info == 24 then
    return major, 0, tvb(at, 1):uint(), at + 1
  elseif info == 25 then
    return major, 0, tvb(at, 2):uint(), at + 2
  elseif info == 26 then
    return major, 0, tvb(at, 4):uint(), at + 4
  elseif info == 27 then
    return major, tvb(at, 4):uint(), tvb(at + 4, 4):uint(), at + 8
  end
  error("no length")
end

local fields

-- A value under `field` (a ProtoField), which is `known` by its row of the table; gives where it ends.
local function value(tvb, at, tree, field, known)
  local major, high, low, content = head(tvb, at)
  if major == 0 and known.form == "uint" then
    tree:add(field, tvb(at, content - at), UInt64.new(low, high))
    return content
  elseif major <= 1 and known.form == "int" then
    local number = Int64.new(low, high)
    tree:add(field, tvb(at, content - at), major == 0 and number or Int64.new(-1) - number)
    return content
  elseif major == 2 or major == 3 then
    local range = low > 0 and tvb(content, low) or tvb(at, content - at) -- a range is never empty
    local item
    if major == 3 then
      item = tree:add(field, range, low > 0 and range:string(ENC_UTF_8) or "")
    elseif low > 0 then
      item = tree:add(field, range)
    else
      tree:add(range, known.name .. ": no bytes")
    end
    if known.entries and low > 0 and not pcall(fields, tvb, content, content + low, item) then
      item:add_proto_expert_info(e.bad_body)
    end
    return content + low
  elseif major == 4 then
    for _ = 1, low do
      content = value(tvb, content, tree, field, known)
    end
    return content
  end
  error("a form that no field has")
end

-- A map of fields by number.
function fields(tvb, at, limit, tree)
  local major, _, count, content = head(tvb, at)
  assert(major == 5)
  for _ = 1, count do
    local key_major, _, number, after = head(tvb, content)
    local known = tables.fields[number]
    assert(key_major == 0 and known)
    content = value(tvb, after, tree, f["field_" .. number], known)
  end
  assert(content == limit)
end

-- What an error says for a machine: a map of text to number, text or list of text, on one line.
local function detail(tvb, at)
  local major, _, low, content = head(tvb, at)
  if major == 0 or major == 1 then
    return tostring(major == 0 and low or -1 - low), content
  elseif major == 3 then
    return low > 0 and tvb(content, low):string(ENC_UTF_8) or "", content + low
  end
  assert(major == 4 or major == 5)
  local parts = {}
  for _ = 1, low do
    local part, name
    if major == 5 then
      name, content = detail(tvb, content)
    end
    part, content = detail(tvb, content)
    parts[#parts + 1] = name and (name .. "=" .. part) or part
  end
  return table.concat(parts, ", "), content
end

local function refusal(tvb, at, limit, tree)
  local major, _, count, content = head(tvb, at)
  assert(major == 5)
  for _ = 1, count do
    local key_major, _, number, after = head(tvb, content)
    assert(key_major == 0 and tables.error_fields[number])
    if tables.error_fields[number] == "detail" then
      local text
      text, content = detail(tvb, after)
      tree:add(f.detail, tvb(after, content - after), text)
    else
      content = value(tvb, after, tree, f["error_" .. number], { form = "text" })
    end
  end
  assert(content == limit)
end

local function match(tvb, pinfo, tree, kind, service)
  local number = pinfo.number
  if not pinfo.visited then
    local key = tvb(4, 16):bytes():tohex() .. service
    if kind == REQUEST then
      retry_of[number] = newest[key] and newest[key].number
      newest[key] = { number = number, time = pinfo.abs_ts }
    elseif kind == REPLY and newest[key] then
      request_of[number], time_of[number] = newest[key].number, pinfo.abs_ts - newest[key].time
      reply_of[newest[key].number] = number
    end
  end
  if request_of[number] then
    tree:add(f.request_in, request_of[number]):set_generated()
    local microseconds = math.floor(time_of[number] * 1e6 + 0.5) -- as exact as a trace is
    local part = microseconds % 1000000
    tree:add(f.time, NSTime.new((microseconds - part) / 1000000, part * 1000)):set_generated()
  end
  if reply_of[number] then
    tree:add(f.reply_in, reply_of[number]):set_generated()
  end
  if retry_of[number] then
    tree:add_proto_expert_info(e.retry)
  end
end

local function header(tvb, tree, kind, service)
  tree:add(f.version, tvb(0, 1))
  tree:add(f.kind, tvb(1, 1))
  tree:add(kind == EVENT and f.event or f.service, tvb(2, 1))
  local status = tree:add(f.status, tvb(3, 1))
  tree:add(f.request_id, tvb(4, 16))
  local names = kind == EVENT and tables.events or tables.services
  local name = names[service] or (service == tables.unreadable and "unreadable") or string.format("0x%02X", service)
  tree:add(f.name, tvb(2, 1), name):set_generated()
  return name, status
end

function pes.dissector(buffer, pinfo, root)
  pinfo.cols.protocol = "PES"
  local tree = root:add(pes, buffer())
  local data = undo_cobs(buffer:raw())
  if not data then
    pinfo.cols.info = buffer:len() .. " bytes that are no frame"
    tree:add_proto_expert_info(e.bad_cobs)
    return buffer:len()
  end
  if #data < HEADER + CRC then
    pinfo.cols.info = #data .. " bytes, too few for a frame"
    tree:add_proto_expert_info(e.short)
    return buffer:len()
  end
  local tvb = ByteArray.new(data, true):tvb("Frame without COBS")
  local kind, service, code = tvb(1, 1):uint(), tvb(2, 1):uint(), tvb(3, 1):uint()
  local name, status = header(tvb, tree, kind, service)
  local length = #data - HEADER - CRC
  local good = crc32(data:sub(1, -5)) == tvb(#data - CRC, CRC):le_uint()
  if length > 0 then
    local body = tree:add(f.body, tvb(HEADER, length))
    local read = kind == REPLY and code ~= 0 and refusal or fields
    if good and not pcall(read, tvb, HEADER, HEADER + length, body) then
      body:add_proto_expert_info(e.bad_body)
    end
  end
  local crc = tree:add_le(f.crc, tvb(#data - CRC, CRC))
  tree:add(f.crc_good, tvb(#data - CRC, CRC), good):set_generated()
  local said = tables.statuses[code] or string.format("0x%02X", code)
  pinfo.cols.info = name .. " " .. (tables.kinds[kind] or ("kind " .. kind)) .. (kind == REPLY and ": " .. said or "")
  if not good then
    crc:add_proto_expert_info(e.bad_crc)
    pinfo.cols.info:append(" (CRC does not match)")
    return buffer:len()
  end
  if kind == REPLY and code ~= 0 then
    status:add_proto_expert_info(e.refused, "Refused: " .. said)
  end
  match(tvb, pinfo, tree, kind, service)
  return buffer:len()
end

DissectorTable.get("wtap_encap"):add(wtap.USER0, pes)
