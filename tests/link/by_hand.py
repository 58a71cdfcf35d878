"""The format once more, written after docs and paper only: nothing of pes_sim is used, and nothing is fast."""

from __future__ import annotations

import struct


def by_hand_crc32(data: bytes) -> int:
    """CRC-32 bit by bit: reflected polynomial 0xEDB88320, all ones before and after (ISO 3309)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def by_hand_cobs(data: bytes) -> bytes:
    """`StuffData` of the paper, byte by byte."""
    out, block = bytearray(), bytearray()
    for byte in data:
        if byte:
            block.append(byte)
        if not byte or len(block) == 254:
            out += bytes([len(block) + 1]) + block
            block.clear()
    return bytes(out + bytes([len(block) + 1]) + block)


def by_hand(version: int, kind: int, service: int, status: int, request_id: bytes, body: bytes) -> bytes:
    content = bytes([version, kind, service, status]) + request_id + body
    return b"\0" + by_hand_cobs(content + struct.pack("<I", by_hand_crc32(content))) + b"\0"
