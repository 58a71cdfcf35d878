/* The numbers of the serial protocol (docs/protocol.md). Written by tools/generate.py from the tables that pes_sim
 * itself goes by: change those, and say "make generate". SPDX-License-Identifier: Apache-2.0 */
#ifndef PES_PROTOCOL_H
#define PES_PROTOCOL_H

enum pes_frame {
    PES_VERSION = 1, /* the version that this file describes */
    PES_HEADER_LENGTH = 20, /* version, kind, service, status, request id */
    PES_REQUEST_ID_LENGTH = 16,
    PES_CRC_LENGTH = 4, /* CRC-32 as zlib has it, little-endian */
    PES_OVERHEAD = 24, /* a frame without its body */
    PES_MIN_MAX_FRAME = 2048, /* every side takes frames of this length, before COBS */
    PES_MAX_FRAME = 4096, /* no frame is longer, before COBS */
    PES_MAX_STUFFED = 4113, /* nor after it, without delimiters */
    PES_DELIMITER = 0, /* before and after each frame */
};

enum pes_kind {
    PES_KIND_REQUEST = 1,
    PES_KIND_REPLY = 2,
    PES_KIND_EVENT = 3,
};

enum pes_service {
    PES_SERVICE_UNREADABLE = 0xFF, /* in a reply to a frame that could not be read */
    /* asks lowest_version, highest_version, max_frame; gives version, max_frame, device_kind */
    PES_SERVICE_HELLO = 0x00,
    PES_SERVICE_SUBSCRIBE = 0xF0, /* asks low_funds_mills; gives event_sequence */
    PES_SERVICE_UNSUBSCRIBE = 0xF1, /* asks nothing; gives event_sequence */
    /* asks nothing; gives model_id, psd_serial, provider_id, software_id, layout, licensing_zip, customer,
     * utc_offset_minutes, profile, regime, curve, notice, service_indicator */
    PES_SERVICE_GET_INFO = 0x01,
    /* asks nothing; gives state, sub_state, lock_reasons, cleared_by, warnings, seconds_to_lockout, device_time, today,
     * refill_pending_mills, log_sequence, reprint_count, role, self_tests_failed, offset, repaired,
     * service_indicator */
    PES_SERVICE_GET_STATUS = 0x02,
    /* asks nothing; gives ascending_mills, descending_mills, control_sum_mills, piece_count, zero_piece_count,
     * service_indicator */
    PES_SERVICE_GET_REGISTERS = 0x03,
    /* asks nothing; gives psd_certificate, provider_certificate, trust_anchor, service_indicator */
    PES_SERVICE_GET_CERTIFICATES = 0x04,
    PES_SERVICE_SELF_TEST = 0x05, /* asks nothing; gives self_tests_passed, self_tests_failed, service_indicator */
    PES_SERVICE_CHALLENGE = 0x06, /* asks nothing; gives nonce, message_number, service_indicator */
    PES_SERVICE_AUTHENTICATE = 0x07, /* asks role, proof; gives role, service_indicator */
    PES_SERVICE_ZEROIZE = 0x0F, /* asks nothing; gives state, service_indicator */
    /* asks psd_serial, trust_anchor, user_secret, transport_key, profile, regime, curve; gives public_key, message_key,
     * nonce, service_indicator */
    PES_SERVICE_INITIALIZE = 0x10,
    PES_SERVICE_AUTHORIZE = 0x11, /* asks message; gives state, service_indicator */
    PES_SERVICE_REAUTHORIZE = 0x12, /* asks message; gives state, service_indicator */
    PES_SERVICE_SET_TIME = 0x13, /* asks message; gives device_time, state, service_indicator */
    PES_SERVICE_LOCK = 0x14, /* asks message; gives state, lock_reasons, service_indicator */
    PES_SERVICE_UNLOCK = 0x15, /* asks message; gives state, lock_reasons, service_indicator */
    PES_SERVICE_RENEW_KEY = 0x16, /* asks message; gives public_key, service_indicator */
    PES_SERVICE_LOAD_CERTIFICATE = 0x17, /* asks message; gives state, service_indicator */
    PES_SERVICE_LOAD_KEY = 0x18, /* asks message; gives slot, service_indicator */
    PES_SERVICE_SOFTWARE_BEGIN = 0x19, /* asks message; gives software_id, offset, service_indicator */
    PES_SERVICE_SOFTWARE_DATA = 0x1A, /* asks offset, data; gives offset, service_indicator */
    PES_SERVICE_SOFTWARE_COMPLETE = 0x1B, /* asks nothing; gives software_id, service_indicator */
    /* asks message; gives state, lock_reasons, ascending_mills, descending_mills, control_sum_mills, piece_count,
     * zero_piece_count, service_indicator */
    PES_SERVICE_RECOVER = 0x1C,
    /* asks postage_mills, mailing_date, mail_class, weight, destination, reference; gives indicium, record,
     * device_time, ascending_mills, descending_mills, control_sum_mills, piece_count, zero_piece_count,
     * service_indicator */
    PES_SERVICE_DISPENSE = 0x20,
    /* asks pieces; gives indicia, record, device_time, ascending_mills, descending_mills, control_sum_mills,
     * piece_count, zero_piece_count, service_indicator */
    PES_SERVICE_DISPENSE_BATCH = 0x21,
    /* asks mailing_date, mail_class, weight, destination, reference; gives indicium, record, device_time,
     * ascending_mills, descending_mills, control_sum_mills, piece_count, zero_piece_count, service_indicator */
    PES_SERVICE_REDATE = 0x22,
    /* asks postage_mills, mailing_date, mail_class, weight, destination, reference; gives indicium, record,
     * device_time, ascending_mills, descending_mills, control_sum_mills, piece_count, zero_piece_count,
     * service_indicator */
    PES_SERVICE_CORRECT_AMOUNT = 0x23,
    /* asks original; gives indicium, record, device_time, ascending_mills, descending_mills, control_sum_mills,
     * piece_count, zero_piece_count, service_indicator */
    PES_SERVICE_REPRINT = 0x24,
    PES_SERVICE_REFILL_BEGIN = 0x30, /* asks amount_mills; gives message, service_indicator */
    /* asks message; gives amount_mills, reason, ascending_mills, descending_mills, control_sum_mills, piece_count,
     * zero_piece_count, service_indicator */
    PES_SERVICE_REFILL_COMPLETE = 0x31,
    PES_SERVICE_REFILL_CANCEL = 0x32, /* asks nothing; gives message, service_indicator */
    PES_SERVICE_WITHDRAW_BEGIN = 0x34, /* asks nothing; gives message, service_indicator */
    /* asks message; gives amount_mills, reason, statement, ascending_mills, descending_mills, control_sum_mills,
     * piece_count, zero_piece_count, service_indicator */
    PES_SERVICE_WITHDRAW_COMPLETE = 0x35,
    PES_SERVICE_GET_STATEMENT = 0x36, /* asks nothing; gives statement, service_indicator */
    PES_SERVICE_CHECKIN_BEGIN = 0x38, /* asks nothing; gives message, service_indicator */
    /* asks message; gives state, lock_reasons, reason, seconds_to_lockout, service_indicator */
    PES_SERVICE_CHECKIN_COMPLETE = 0x39,
    PES_SERVICE_READ_LOG = 0x40, /* asks first_record; gives entries, next_record, service_indicator */
    PES_SERVICE_AUDIT = 0x41, /* asks nonce; gives statement, service_indicator */
    /* asks department, mail_class, weight, destination, mailing_date, declared_mills; gives indicium, record,
     * postage_mills, rate_table, ascending_mills, descending_mills, control_sum_mills, piece_count, zero_piece_count */
    PES_SERVICE_PRINT_PIECE = 0x60,
    PES_SERVICE_QUOTE = 0x61, /* asks mail_class, weight, mailing_date; gives postage_mills, rate_table */
    PES_SERVICE_GET_DEPARTMENTS = 0x62, /* asks from_department; gives departments, next_department */
    /* asks amount_mills; gives amount_mills, reason, ascending_mills, descending_mills, control_sum_mills, piece_count,
     * zero_piece_count */
    PES_SERVICE_REFILL = 0x64,
    PES_SERVICE_CHECK_IN = 0x65, /* asks nothing; gives state, lock_reasons, seconds_to_lockout */
    /* asks nothing; gives reason, ascending_mills, descending_mills, control_sum_mills, piece_count,
     * zero_piece_count */
    PES_SERVICE_CANCEL_REFILL = 0x66,
    /* asks nothing; gives amount_mills, reason, statement, ascending_mills, descending_mills, control_sum_mills,
     * piece_count, zero_piece_count */
    PES_SERVICE_WITHDRAW = 0x67,
};

enum pes_status {
    PES_STATUS_OK = 0x00,
    PES_STATUS_BAD_FRAME = 0x10,
    PES_STATUS_BAD_BODY = 0x11,
    PES_STATUS_UNKNOWN_SERVICE = 0x12,
    PES_STATUS_BAD_FIELD = 0x13,
    PES_STATUS_UNSUPPORTED_VERSION = 0x14,
    PES_STATUS_FRAME_TOO_LARGE = 0x15,
    PES_STATUS_ANSWER_TOO_LONG = 0x16,
    PES_STATUS_REFUSED_IN_STATE = 0x20,
    PES_STATUS_REQUEST_ID_REUSED = 0x21,
    PES_STATUS_INSUFFICIENT_FUNDS = 0x22,
    PES_STATUS_BAD_DATE = 0x23,
    PES_STATUS_BAD_POSTAGE = 0x24,
    PES_STATUS_UNKNOWN_DEPARTMENT = 0x25,
    PES_STATUS_NO_RATE = 0x26,
    PES_STATUS_REGISTER_LIMIT = 0x27,
    PES_STATUS_REFILL_PENDING = 0x28,
    PES_STATUS_NOTHING_PENDING = 0x29,
    PES_STATUS_ID_BEYOND_REACH = 0x2A,
    PES_STATUS_LOG_FULL = 0x2B,
    PES_STATUS_NOT_AUTHENTICATED = 0x2C,
    PES_STATUS_AUTHENTICATION_FAILED = 0x2D,
    PES_STATUS_AUTHENTICATION_WAITS = 0x2E,
    PES_STATUS_BAD_TIME = 0x2F,
    PES_STATUS_LOCKED_CHECKIN_OVERDUE = 0x31,
    PES_STATUS_LOCKED_INSPECTION_DUE = 0x32,
    PES_STATUS_LOCKED_BY_PROVIDER = 0x33,
    PES_STATUS_LOCKED_REGISTER_FAULT = 0x34,
    PES_STATUS_LOCKED_ROLLBACK_FOUND = 0x35,
    PES_STATUS_LOCKED_DATE_FAULT = 0x36,
    PES_STATUS_BAD_SIGNATURE = 0x40,
    PES_STATUS_BAD_MESSAGE = 0x41,
    PES_STATUS_NOT_FOR_THIS_DEVICE = 0x42,
    PES_STATUS_STALE_MESSAGE = 0x43,
    PES_STATUS_BAD_CERTIFICATE = 0x44,
    PES_STATUS_REFUSED_BY_PROVIDER = 0x45,
    PES_STATUS_OLD_SOFTWARE = 0x47,
    PES_STATUS_STORAGE_FAILED = 0x50,
    PES_STATUS_STORAGE_FULL = 0x51,
    PES_STATUS_INTEGRITY = 0x52,
    PES_STATUS_NO_CONNECTION = 0x53,
    PES_STATUS_SELF_TEST_FAILED = 0x54,
    PES_STATUS_INTERNAL = 0x5F,
};

enum pes_event {
    PES_EVENT_STATE_CHANGED = 0x01, /* says event_sequence, device_time, state, sub_state, lock_reasons */
    PES_EVENT_LOW_FUNDS = 0x02, /* says event_sequence, device_time, descending_mills, low_funds_mills */
    PES_EVENT_CHECKIN_DUE = 0x03, /* says event_sequence, device_time, seconds_to_lockout */
    PES_EVENT_TAMPER = 0x04, /* says event_sequence, device_time, state */
};

enum pes_field {
    PES_FIELD_MODEL_ID = 1, /* text, at most 2 long. Model of the PSD */
    PES_FIELD_PSD_SERIAL = 2, /* uint, at most 4294967295. Serial number of the PSD */
    PES_FIELD_PROVIDER_ID = 3, /* text, at most 2 long. Provider; always 99, this simulator's test provider */
    /* uint, at most 4294967295. Version of the PSD's software: major, minor, patch, 0; a byte each */
    PES_FIELD_SOFTWARE_ID = 4,
    PES_FIELD_LAYOUT = 5, /* text, at most 64 long. Name of the indicium layout */
    /* text, at most 300 long. What this device is not: specimen only, assumed layout, reproducible keys */
    PES_FIELD_NOTICE = 6,
    PES_FIELD_PROFILE = 7, /* text, at most 16 long. FIPS 140-2, FIPS 140-3 or legacy: which rules the device follows */
    PES_FIELD_REGIME = 8, /* text, at most 8 long. IMI or IBI: how long the device may go without its provider */
    /* uint, at most 3. 140-3 profile: 1 for an approved service, 2 for one without security; legacy profile: 3 for one
     * that signs by an algorithm that is not approved; otherwise 0 */
    PES_FIELD_SERVICE_INDICATOR = 9,
    PES_FIELD_STATE = 10, /* text, at most 32 long. State of the life cycle */
    PES_FIELD_LOCK_REASONS = 11, /* list of text, at most 8 long. Why the device is locked; empty when it is not */
    /* int, at most 9223372036854775807. Until the check-in lockout; negative when overdue */
    PES_FIELD_SECONDS_TO_LOCKOUT = 12,
    /* uint, at most 253402128000000000. The device's clock, microseconds since 1970-01-01 UTC */
    PES_FIELD_DEVICE_TIME = 13,
    PES_FIELD_TODAY = 14, /* text, at most 10 long. The device's date, YYYY-MM-DD, at its offset from UTC */
    /* uint, at most 4294967295. Amount of the refill under way; 0 when there is none */
    PES_FIELD_REFILL_PENDING_MILLS = 15,
    PES_FIELD_LOG_SEQUENCE = 16, /* uint, at most 9223372036854775807. Number of the newest record of the log */
    /* uint, at most 4294967295. Copies of records that were mended when the device was opened */
    PES_FIELD_REPAIRED = 17,
    PES_FIELD_SUB_STATE = 18, /* text, at most 32 long. What is under way with the provider; empty for nothing */
    PES_FIELD_WARNINGS = 19, /* list of text, at most 8 long. What will lock the device unless somebody acts */
    PES_FIELD_ASCENDING_MILLS = 20, /* uint, at most 1099511627775. Ascending register: total postage ever dispensed */
    PES_FIELD_DESCENDING_MILLS = 21, /* uint, at most 4294967295. Descending register: postage still available */
    /* uint, at most 1099511627775. Control sum: ascending + descending, the sum of all refills */
    PES_FIELD_CONTROL_SUM_MILLS = 22,
    PES_FIELD_PIECE_COUNT = 23, /* uint, at most 4294967295. Indicia ever dispensed, zero-value ones included */
    PES_FIELD_ZERO_PIECE_COUNT = 24, /* uint, at most 4294967295. Zero-value indicia ever dispensed */
    /* uint, at most 4294967295. Indicia given out once more; they are no pieces and cost nothing */
    PES_FIELD_REPRINT_COUNT = 25,
    PES_FIELD_CLEARED_BY = 26, /* list of text, at most 8 long. The services that clear what the device is locked for */
    PES_FIELD_ROLE = 27, /* text, at most 32 long. A role by its name; who has authenticated himself */
    /* list of text, at most 16 long. Self-tests whose latest run since power-on passed */
    PES_FIELD_SELF_TESTS_PASSED = 28,
    /* list of text, at most 16 long. Self-tests whose latest run since power-on failed */
    PES_FIELD_SELF_TESTS_FAILED = 29,
    /* bytes, at most 128 long. The public key of the PSD's indicia, an uncompressed point, or y of DSA */
    PES_FIELD_PUBLIC_KEY = 30,
    PES_FIELD_TRUST_ANCHOR = 31, /* bytes, at most 2048 long. The test CA's X.509 certificate, DER */
    PES_FIELD_PSD_CERTIFICATE = 32, /* bytes, at most 2048 long. The PSD's X.509 certificate, DER */
    PES_FIELD_PROVIDER_CERTIFICATE = 33, /* bytes, at most 2048 long. The provider's X.509 certificate, DER */
    PES_FIELD_LICENSING_ZIP = 34, /* text, at most 5 long. ZIP Code of the licensing post office */
    /* text, at most 64 long. The customer's account with the provider (the CMRS account number) */
    PES_FIELD_CUSTOMER = 35,
    PES_FIELD_UTC_OFFSET_MINUTES = 36, /* int, at most 840. The device's fixed offset from UTC */
    /* bytes, at most 65 long. The P-256 public key of the PSD's messages, an uncompressed point */
    PES_FIELD_MESSAGE_KEY = 37,
    /* text, at most 8 long. Curve of the indicium key: P-256 or P-224; DSA-1024 in the legacy profile */
    PES_FIELD_CURVE = 38,
    /* bytes, at most 64 long. What the customer's meter authenticates itself with; at least 6 bytes */
    PES_FIELD_USER_SECRET = 39,
    PES_FIELD_POSTAGE_MILLS = 40, /* uint, at most 16777215. Postage of the piece */
    PES_FIELD_MAILING_DATE = 41, /* text, at most 10 long. Date of mailing, YYYY-MM-DD */
    PES_FIELD_MAIL_CLASS = 42, /* text, at most 32 long. Class of mail, by the name the layout gives it */
    PES_FIELD_WEIGHT = 43, /* uint, at most 65535. Weight in 1/100 oz */
    PES_FIELD_DESTINATION = 44, /* text, at most 11 long. ZIP, ZIP+4 or 11-digit delivery point; empty for none */
    /* bytes, at most 32 long. Bytes of the meter's own (its department); kept in the log, never printed */
    PES_FIELD_REFERENCE = 45,
    PES_FIELD_INDICIUM = 46, /* bytes, at most 128 long. The signed payload of the indicium */
    PES_FIELD_RECORD = 47, /* uint, at most 9223372036854775807. Number of the log record that holds the debit */
    PES_FIELD_REQUEST_ID = 48, /* bytes, at most 16 long. The id of the request that dispensed the piece */
    /* text, at most 22 long. Tracking number of 20 or 22 digits; for layouts that have one */
    PES_FIELD_TRACKING_NUMBER = 89,
    /* text, at most 200 long. Extra services by the names the layout gives them, joined by + */
    PES_FIELD_EXTRA_SERVICES = 90,
    PES_FIELD_PIECE_KIND = 49, /* text, at most 20 long. standard, date correction, amount correction or reprint */
    PES_FIELD_MESSAGE = 50, /* bytes, at most 3000 long. A COSE_Sign1 message (RFC 9052) */
    PES_FIELD_NONCE = 51, /* bytes, at most 16 long. Fresh random bytes of the PSD, which the answer repeats */
    /* uint, at most 9223372036854775807. Number of this message of this PSD, rising by one */
    PES_FIELD_MESSAGE_NUMBER = 52,
    PES_FIELD_AMOUNT_MILLS = 53, /* uint, at most 4294967295. Amount of a refill */
    PES_FIELD_REASON = 54, /* text, at most 200 long. Why the provider refuses */
    /* uint, at most 9223372036854775807. Newest log record that the provider has taken over */
    PES_FIELD_ACKNOWLEDGED = 55,
    /* bytes, at most 3000 long. What only the role has made of the challenge: a MAC, or a signed login */
    PES_FIELD_PROOF = 56,
    PES_FIELD_CERTIFICATE = 57, /* bytes, at most 2048 long. An X.509 certificate, DER */
    PES_FIELD_STATEMENT = 58, /* bytes, at most 3000 long. A COSE_Sign1 message of the PSD that states how it is */
    /* list of bytes, at most 16 long. Earlier reports since the last receipt, and that one: the log's length, 8 bytes,
     * big-endian, and the chain then */
    PES_FIELD_REPORTS = 59,
    /* uint, at most 9223372036854775807. A message number that no message of the PSD has had; it goes on from there */
    PES_FIELD_NEWEST_NUMBER = 79,
    PES_FIELD_FIRST_RECORD = 60, /* uint, at most 9223372036854775807. Number of the first record wanted */
    PES_FIELD_ENTRIES = 61, /* list of bytes, at most 65536 long. Pieces: each a CBOR map of the fields of one */
    PES_FIELD_NEXT_RECORD = 62, /* uint, at most 9223372036854775807. Where to go on reading; 0 at the end */
    PES_FIELD_CHAIN = 63, /* bytes, at most 32 long. The log's hash chain after a record (docs/storage.md) */
    PES_FIELD_ORIGINAL = 64, /* uint, at most 9223372036854775807. The record that a reprint repeats; 0 for any other */
    /* list of bytes, at most 100 long. Pieces: each a CBOR map of the fields of one `dispense` request */
    PES_FIELD_PIECES = 77,
    PES_FIELD_INDICIA = 78, /* list of bytes, at most 100 long. Indicia, in the order of the request's pieces */
    /* bytes, at most 32 long. AES-256 key under which the provider wraps secrets; empty for none */
    PES_FIELD_TRANSPORT_KEY = 65,
    PES_FIELD_SLOT = 66, /* text, at most 16 long. Where a secret goes: mac, or user */
    /* bytes, at most 80 long. A secret under the transport key (AES key wrap, RFC 3394) */
    PES_FIELD_WRAPPED_SECRET = 67,
    PES_FIELD_SIZE = 68, /* uint, at most 1048576. Bytes of a software package */
    PES_FIELD_DIGEST = 69, /* bytes, at most 32 long. SHA-256 of a software package */
    PES_FIELD_OFFSET = 75, /* uint, at most 1048576. Where bytes of a package belong; where the next ones are wanted */
    PES_FIELD_DATA = 76, /* bytes, at most 1024 long. Bytes of a package */
    /* bytes, at most 16 long. Nonce of the refill request that waits for its answer; empty for none */
    PES_FIELD_REFILL_NONCE = 93,
    PES_FIELD_LOWEST_VERSION = 70, /* uint, at most 255. Lowest protocol version that the host speaks */
    PES_FIELD_HIGHEST_VERSION = 71, /* uint, at most 255. Highest protocol version that the host speaks */
    PES_FIELD_MAX_FRAME = 72, /* uint, at most 65535. Longest frame that the side can take, in bytes before COBS */
    PES_FIELD_VERSION = 73, /* uint, at most 255. The protocol version agreed on */
    PES_FIELD_DEVICE_KIND = 74, /* text, at most 16 long. What answers: "psd" or "meter" */
    /* uint, at most 4294967295. Below so much in the descending register, funds are low; 0 for never */
    PES_FIELD_LOW_FUNDS_MILLS = 91,
    /* uint, at most 9223372036854775807. Number of an event, rising by one from 1 on; a gap is an event lost */
    PES_FIELD_EVENT_SEQUENCE = 92,
    PES_FIELD_DEPARTMENT = 80, /* text, at most 16 long. Code of the department that pays */
    PES_FIELD_DEPARTMENT_NAME = 81, /* text, at most 64 long. Its name */
    PES_FIELD_DEPARTMENT_PIECES = 82, /* uint, at most 9223372036854775807. Pieces it has printed */
    PES_FIELD_DEPARTMENT_MILLS = 83, /* uint, at most 9223372036854775807. Postage it has used */
    /* list of bytes, at most 65536 long. Departments: each a CBOR map of the fields of one */
    PES_FIELD_DEPARTMENTS = 84,
    PES_FIELD_NEXT_DEPARTMENT = 85, /* text, at most 16 long. Where to go on reading; empty at the end */
    PES_FIELD_FROM_DEPARTMENT = 86, /* text, at most 16 long. The first department wanted; empty for all */
    PES_FIELD_RATE_TABLE = 87, /* text, at most 32 long. Version of the rate table that gave the postage */
    PES_FIELD_DECLARED_MILLS = 88, /* uint, at most 16777215. Postage wanted; 0 for the rate table's, never below it */
};

enum pes_length {
    PES_LENGTH_MODEL_ID = 2, /* text, at most */
    PES_LENGTH_PROVIDER_ID = 2, /* text, at most */
    PES_LENGTH_LAYOUT = 64, /* text, at most */
    PES_LENGTH_NOTICE = 300, /* text, at most */
    PES_LENGTH_PROFILE = 16, /* text, at most */
    PES_LENGTH_REGIME = 8, /* text, at most */
    PES_LENGTH_STATE = 32, /* text, at most */
    PES_LENGTH_TODAY = 10, /* text, at most */
    PES_LENGTH_SUB_STATE = 32, /* text, at most */
    PES_LENGTH_ROLE = 32, /* text, at most */
    PES_LENGTH_PUBLIC_KEY = 128, /* bytes, at most */
    PES_LENGTH_TRUST_ANCHOR = 2048, /* bytes, at most */
    PES_LENGTH_PSD_CERTIFICATE = 2048, /* bytes, at most */
    PES_LENGTH_PROVIDER_CERTIFICATE = 2048, /* bytes, at most */
    PES_LENGTH_LICENSING_ZIP = 5, /* text, at most */
    PES_LENGTH_CUSTOMER = 64, /* text, at most */
    PES_LENGTH_MESSAGE_KEY = 65, /* bytes, at most */
    PES_LENGTH_CURVE = 8, /* text, at most */
    PES_LENGTH_USER_SECRET = 64, /* bytes, at most */
    PES_LENGTH_MAILING_DATE = 10, /* text, at most */
    PES_LENGTH_MAIL_CLASS = 32, /* text, at most */
    PES_LENGTH_DESTINATION = 11, /* text, at most */
    PES_LENGTH_REFERENCE = 32, /* bytes, at most */
    PES_LENGTH_INDICIUM = 128, /* bytes, at most */
    PES_LENGTH_REQUEST_ID = 16, /* bytes, at most */
    PES_LENGTH_TRACKING_NUMBER = 22, /* text, at most */
    PES_LENGTH_EXTRA_SERVICES = 200, /* text, at most */
    PES_LENGTH_PIECE_KIND = 20, /* text, at most */
    PES_LENGTH_MESSAGE = 3000, /* bytes, at most */
    PES_LENGTH_NONCE = 16, /* bytes, at most */
    PES_LENGTH_REASON = 200, /* text, at most */
    PES_LENGTH_PROOF = 3000, /* bytes, at most */
    PES_LENGTH_CERTIFICATE = 2048, /* bytes, at most */
    PES_LENGTH_STATEMENT = 3000, /* bytes, at most */
    PES_LENGTH_CHAIN = 32, /* bytes, at most */
    PES_LENGTH_TRANSPORT_KEY = 32, /* bytes, at most */
    PES_LENGTH_SLOT = 16, /* text, at most */
    PES_LENGTH_WRAPPED_SECRET = 80, /* bytes, at most */
    PES_LENGTH_DIGEST = 32, /* bytes, at most */
    PES_LENGTH_DATA = 1024, /* bytes, at most */
    PES_LENGTH_REFILL_NONCE = 16, /* bytes, at most */
    PES_LENGTH_DEVICE_KIND = 16, /* text, at most */
    PES_LENGTH_DEPARTMENT = 16, /* text, at most */
    PES_LENGTH_DEPARTMENT_NAME = 64, /* text, at most */
    PES_LENGTH_NEXT_DEPARTMENT = 16, /* text, at most */
    PES_LENGTH_FROM_DEPARTMENT = 16, /* text, at most */
    PES_LENGTH_RATE_TABLE = 32, /* text, at most */
};

enum pes_error_field {
    PES_ERROR_MESSAGE = 1, /* text: what was wrong */
    PES_ERROR_HINT = 2, /* text: what to do about it */
    PES_ERROR_DETAIL = 3, /* map of text to integer, text or list of text */
};

#define PES_STATE_UNINITIALIZED "UNINITIALIZED"
#define PES_STATE_INITIALIZED "INITIALIZED"
#define PES_STATE_AUTHORIZED "AUTHORIZED"
#define PES_STATE_OPERATIONAL "OPERATIONAL"
#define PES_STATE_LOCKED "LOCKED"
#define PES_STATE_WITHDRAWN "WITHDRAWN"
#define PES_STATE_ERROR "ERROR"
#define PES_STATE_ZEROIZED "ZEROIZED"

#define PES_SUB_STATE_NONE ""
#define PES_SUB_STATE_REFILL_PENDING "REFILL_PENDING"
#define PES_SUB_STATE_REFILL_CANCELLED "REFILL_CANCELLED"
#define PES_SUB_STATE_WITHDRAWAL_PENDING "WITHDRAWAL_PENDING"

#define PES_LOCK_ROLLBACK_FOUND "rollback found"
#define PES_LOCK_REGISTER_FAULT "register fault"
#define PES_LOCK_PROVIDER "provider lock"
#define PES_LOCK_DATE_FAULT "date fault"
#define PES_LOCK_CHECKIN_OVERDUE "check-in overdue"
#define PES_LOCK_INSPECTION_DUE "inspection due"

#define PES_ROLE_NONE "unauthenticated"
#define PES_ROLE_USER "customer's meter"
#define PES_ROLE_INSPECTOR "postal inspector"
#define PES_ROLE_PROVIDER "provider"

#endif
