"""The definition of the record, compared with everything made from it."""

import struct
import zlib

import pytest

from runner.native import _native
from tracer.format.schema import STORED
from vmspec.trace.record import (
    DIRECTIONS,
    EXITS,
    FLAGS,
    HEADER,
    PAUSE,
    REASONS,
    RECORD,
    RECORD_SIZE,
    RING,
    RING_VERSION,
    pauses,
)
from vmspec.trace.requests import REQUEST, REQUESTS
from vmspec.trace.tracepoints import TRACEPOINTS

ffi = _native.ffi
WIDTHS = {"int16_t": 2, "uint8_t": 1, "uint16_t": 2, "uint32_t": 4, "uint64_t": 8}
CODES = {"int16_t": "h", "uint8_t": "B", "uint16_t": "H", "uint32_t": "I", "uint64_t": "Q"}
LAYOUT = struct.Struct("<" + "".join(CODES[field.ctype] for field in RECORD))


LAYOUTS = [
    ("struct record", RECORD),
    ("struct request", REQUEST),
    ("struct ring_control", RING),
    ("struct ring_pause", PAUSE),
]


def offsets(fields):
    at, found = 0, {}
    for field in fields:
        found[field.name] = (at, WIDTHS[field.ctype])
        at += WIDTHS[field.ctype]
    return found


def c_offsets(struct_name):
    return {name: (field.offset, ffi.sizeof(field.type)) for name, field in ffi.typeof(struct_name).fields}


def test_the_fields_fill_the_record():
    assert LAYOUT.size == RECORD_SIZE == ffi.sizeof("struct record")


@pytest.mark.parametrize(("name", "fields"), LAYOUTS)
def test_the_c_structs(name, fields):
    assert c_offsets(name) == offsets(fields)


def test_another_layout_of_the_ring_file_has_another_version():
    """Whoever changes a table of the ring file raises RING_VERSION, and writes down here what it is then."""
    layout = " ".join(f"{field.ctype} {field.name}" for field in (*HEADER, *RING, *PAUSE, *RECORD, *REQUEST))
    assert (RING_VERSION, zlib.crc32(layout.encode())) == (6, 1122631333)


def test_the_control_blocks_writers_have_cache_lines_of_their_own():
    assert offsets(RING)["tail"][0] == 64


def test_the_columns_that_c_fills():
    for table in (EXITS, TRACEPOINTS, REQUESTS):
        found = dict(ffi.typeof(f"struct {table.name}_columns").fields)
        widths = {name: ffi.sizeof(field.type.item) for name, field in found.items() if field.type.kind == "pointer"}
        widths.pop("bytes", None)  # of the column of bytes, which is offsets into them
        assert widths == {column.name: STORED[column.type][1] for column in table.columns}


def test_a_record_as_the_table_reads_it(loop):
    loop.io(0x1234, 2, b"abcdefghijkl", write=True)
    raw = bytes(ffi.buffer(loop.rings.ring(0).slots, RECORD_SIZE))
    record = dict(zip((field.name for field in RECORD), LAYOUT.unpack(raw), strict=True))
    assert record.pop("tsc_exit") <= record.pop("tsc_entry")
    assert {name: value for name, value in record.items() if value} == {
        "addr": 0x1234, "data": int.from_bytes(b"abcdefgh", "little"), "count": 6, "length": 12,
        "device": -1, "flags": FLAGS["UNCLAIMED"] | FLAGS["PAYLOAD"], "reason": REASONS.index("io"), "size": 2,
        "direction": DIRECTIONS.index("write"),
    }  # fmt: skip


SECOND = 1_000_000_000  # ticks, and ns


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        (0, [], (0, [])),
        (2 * SECOND, [(3 * SECOND, 5 * SECOND)], (2 * SECOND, [[2 * SECOND, 4 * SECOND]])),
        (-6 * SECOND, [(6 * SECOND, 0)], (4 * SECOND, [[5 * SECOND, 9 * SECOND]])),  # under way
        (-11 * SECOND, [(11 * SECOND, 0)], (0, [[10 * SECOND, 10 * SECOND]])),  # begun after the last look
        (-5 * SECOND, [(6 * SECOND, 0)], (5 * SECOND, [[5 * SECOND, 9 * SECOND]])),  # and one of a second that is lost
        (SECOND, [(7 * SECOND, 6 * SECOND)], (SECOND, [])),  # damage
    ],
)
def test_the_pauses_of_a_ring(word, known, expected):
    """Looked at ten seconds after the TSC began, which was one second before time 0."""
    assert pauses(word % (1 << 64), 10 * SECOND, known, SECOND, 1_000_000) == expected


def test_flags_are_single_bits():
    assert sorted(FLAGS.values()) == [1 << bit for bit in range(len(FLAGS))]
