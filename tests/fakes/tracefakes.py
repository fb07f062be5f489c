"""Rings in pure Python, from the tables of vmspec.trace.record, and the rows that their trace must have."""

import json
import mmap
import os
import random
import struct
import threading
from pathlib import Path

from tracer.format.schema import STORED
from vmspec.trace.record import (
    COLUMNS,
    DIRECTIONS,
    EXITS,
    FLAGS,
    HEADER,
    PAGE,
    REASONS,
    RECORD,
    RING,
    RING_MAGIC,
    RING_VERSION,
)
from vmspec.trace.requests import REQUEST

CODES = {"int16_t": "h", "uint8_t": "B", "uint16_t": "H", "uint32_t": "I", "uint64_t": "Q"}
LAYOUT = struct.Struct("<" + "".join(CODES[field.ctype] for field in RECORD))
OFFSETS = {field.name: 8 * index for index, field in enumerate(RING)}  # in a ring's control block
REQUEST_LAYOUT = struct.Struct("<" + "".join(CODES[field.ctype] for field in REQUEST))
MUTATIONS = int(os.environ.get("VMRUN_MUTATIONS", "150"))
TSC_START, TSC_KHZ = 5_000_000_000_000, 2_999_999
DEVICES = ["serial0", "debug-port0", "rtc0"]
METADATA = {
    "vmrun.spec": '[vm]\nname = "fake"\n',
    "vmrun.host": '{"kernel": "6.1"}',
    "vmrun.clock": json.dumps({"tsc_start": TSC_START, "tsc_khz": TSC_KHZ}),
    "vmrun.overrides": "[]",
}
SAID = {**METADATA, "vmrun.devices": json.dumps(DEVICES)}  # the metadata of a trace's schema


def tsc(ns):
    """The first TSC value that is ``ns`` after the start."""
    return TSC_START - (-ns * TSC_KHZ // 1_000_000)


def exit_(t, entry=None, *, reason="io", addr=0x3F8, data=b"x", size=1, direction="write", device="serial0", **fields):
    """A record of one exit, as (fields, payload); ``data`` are all the bytes moved."""
    moved = len(data)
    values = {
        "tsc_exit": tsc(t),
        "tsc_entry": tsc(t + 100 if entry is None else entry),
        "addr": addr,
        "data": int.from_bytes(data[:8], "little"),
        "count": moved // size if size else 0,
        "device": DEVICES.index(device) if device else -1,
        "reason": REASONS.index(reason),
        "size": size,
        "direction": DIRECTIONS.index(direction),
        "flags": 0 if device else FLAGS["UNCLAIMED"],
        **fields,
    }
    if moved > 8:
        values["flags"] |= FLAGS["PAYLOAD"]
        values["length"] = moved
    return values, data if moved > 8 else b""


def numbered(vcpu, number):
    """A record whose every field follows from its number, every fifth with a payload."""
    data = bytes([number % 251]) * (9 + number % 40 if number % 5 == 0 else 1 + number % 8)
    return exit_(
        number * 1000 + vcpu * 7,
        number * 1000 + 300,
        reason=("io", "mmio", "hlt")[number % 3],
        addr=number,
        data=data,
        direction=DIRECTIONS[number % 3],
        device=([*DEVICES, None])[number % 4],
        rip=number * number,
        region=number % 3,
    )


def row(vcpu, seq, record):
    """The row of the trace that a record becomes."""
    fields, payload = record
    found = {"seq": seq, "vcpu": vcpu, "payload": payload}
    found |= {name: (fields[field] - TSC_START) * 1_000_000 // TSC_KHZ for name, field in EXITS.records.times.items()}
    return {column.name: found.get(column.name, _told(column, fields.get(column.name, 0))) for column in COLUMNS}


def _told(column, value):
    if column.names is None:
        return value
    return (*column.names.fixed, *(DEVICES if column.names.key else ()))[value + column.fixed_codes]


# A row of a column each that is zero, the first name, or empty: what a test does not speak of.
ZEROS = {column.name: b"" if column.type == "binary" else _told(column, -column.fixed_codes) for column in COLUMNS}


def in_time(rows):
    """Rows in the order of a trace, made definite."""
    return sorted(rows, key=lambda row: (row["t_exit"], row["vcpu"], row["seq"]))


class Rings:
    """Rings in a file or in memory: a producer's side (``produce``) and the recorder's ``Source``."""

    def __init__(
        self, vcpus=1, *, slots=64, payload_size=4096, file=None, merge=True, first=0, payload_first=0, requests=None
    ):
        """``requests``: records for a ring of them, by field, None: there is none."""
        text = json.dumps({"metadata": METADATA, "devices": DEVICES}).encode()
        self.vcpus, self.slots, self.payload_size, self.merge = vcpus, slots, payload_size, merge
        self.first_ring = 2 * PAGE
        self.ring_size = PAGE + slots * 64 + payload_size
        self.requests_at = self.first_ring + vcpus * self.ring_size if requests is not None else 0
        size = self.first_ring + vcpus * self.ring_size + (PAGE + slots * 64 if self.requests_at else 0)
        if file is None:
            self.memory = mmap.mmap(-1, size)
        else:
            with Path(file).open("w+b") as handle:
                os.posix_fallocate(handle.fileno(), 0, size)  # as the real rings: a page that cannot be had is a SIGBUS
                self.memory = mmap.mmap(handle.fileno(), size)
        header = (RING_MAGIC, RING_VERSION, vcpus, slots, payload_size, len(text), self.first_ring, self.ring_size)
        struct.pack_into(f"<{len(HEADER)}Q", self.memory, 0, *header, TSC_START, TSC_KHZ, 0, self.requests_at)
        self.memory[PAGE : PAGE + len(text)] = text
        self.cursor, self.payload_cursor = [first] * vcpus, [payload_first] * vcpus
        for vcpu in range(vcpus):
            self.set(vcpu, head=first, tail=first, payload_head=payload_first, payload_tail=payload_first)
        self.woken = threading.Event()
        for record in requests or ():
            self.request(record)

    def request(self, record):
        """Publish a record of a request."""
        head = struct.unpack_from("<Q", self.memory, self.requests_at)[0]
        values = (record.get(field.name, 0) for field in REQUEST)
        REQUEST_LAYOUT.pack_into(self.memory, self.requests_at + PAGE + head % self.slots * 64, *values)
        struct.pack_into("<Q", self.memory, self.requests_at, head + 1)

    def set(self, vcpu, **fields):
        """Set fields of a control block."""
        for name, value in fields.items():
            struct.pack_into("<Q", self.memory, self._control(vcpu, name), value)

    def get(self, vcpu, name):
        """A field of a control block."""
        return struct.unpack_from("<Q", self.memory, self._control(vcpu, name))[0]

    def _control(self, vcpu, name):
        return self.first_ring + vcpu * self.ring_size + OFFSETS[name]

    def room(self, vcpu, payload=0):
        """Whether one more record, with so many bytes of payload, has room."""
        records = self.get(vcpu, "head") - self.get(vcpu, "tail")
        bytes_ = self.get(vcpu, "payload_head") - self.get(vcpu, "payload_tail")
        return records < self.slots and bytes_ + payload <= self.payload_size

    def produce(self, vcpu, record):
        """Publish a record."""
        fields, payload = record
        head, at = self.get(vcpu, "head"), self.get(vcpu, "payload_head")
        start = self.first_ring + vcpu * self.ring_size
        for index, byte in enumerate(payload):
            self.memory[start + PAGE + self.slots * 64 + (at + index) % self.payload_size] = byte
        values = {"payload": at if payload else 0, **fields}
        slot = start + PAGE + head % self.slots * 64
        LAYOUT.pack_into(self.memory, slot, *(values.get(field.name, 0) for field in RECORD))
        self.set(vcpu, payload_head=at + len(payload))
        self.set(vcpu, head=head + 1)

    def _record(self, vcpu, number):
        start = self.first_ring + vcpu * self.ring_size
        values = LAYOUT.unpack_from(self.memory, start + PAGE + number % self.slots * 64)
        return dict(zip((field.name for field in RECORD), values, strict=True))

    # Source

    def wait(self, seconds):
        self.woken.wait(min(seconds, 0.01))
        self.woken.clear()

    def wake(self):
        self.woken.set()

    def drain(self, buffers):
        """Like the C one; without ``merge``, only records of the first vCPU that has any, so that batches overlap."""
        waiting = [
            (self._record(vcpu, number)["tsc_exit"], vcpu, number)
            for vcpu in range(self.vcpus)
            for number in range(self.cursor[vcpu], self.get(vcpu, "head"))
        ]
        if not self.merge:
            waiting = [entry for entry in waiting if entry[1] == min(entry[1] for entry in waiting)]
        rows = used = 0
        put = {name: memoryview(buffer) for name, buffer in buffers.columns.items()}
        struct.pack_into("<i", put["payload"], 0, 0)
        for _, vcpu, number in sorted(waiting)[: buffers.rows]:
            values = self._record(vcpu, number)
            if used + values["length"] > buffers.payload_capacity:
                break
            base = self.first_ring + vcpu * self.ring_size + PAGE + self.slots * 64
            for index in range(values["length"]):
                at = base + (values["payload"] + index) % self.payload_size
                buffers.payload[used + index] = self.memory[at]
            used += values["length"]
            values |= {"seq": number, "vcpu": vcpu}
            values |= {
                name: (values[field] - TSC_START) * 1_000_000 // TSC_KHZ for name, field in EXITS.records.times.items()
            }
            for column in COLUMNS:
                if column.type != "binary":
                    code, width = STORED[column.type]
                    value = values[column.name] + column.fixed_codes
                    struct.pack_into("<" + code, put[column.name], rows * width, value)
            rows += 1
            struct.pack_into("<i", put["payload"], rows * 4, used)
            self.cursor[vcpu] = number + 1
            if values["length"]:
                self.payload_cursor[vcpu] = values["payload"] + values["length"]
        return rows

    def commit(self):
        for vcpu in range(self.vcpus):
            self.set(vcpu, tail=self.cursor[vcpu], payload_tail=self.payload_cursor[vcpu])


def record_all(path, records, *, summary=None, merge=True, metadata=None, devices=None):
    """Record lists of records, one per vCPU, into a finished trace; returns the rows that it must have."""
    from tracer.record.recorder import Recorder

    rings = Rings(
        len(records), slots=1 << max(4, max(map(len, records)).bit_length()), payload_size=1 << 16, merge=merge
    )
    for vcpu, list_ in enumerate(records):
        for record in list_:
            rings.produce(vcpu, record)
    recorder = Recorder(path, rings, lambda: METADATA | (metadata or {}), devices or DEVICES, pytest_fail)
    recorder.start()
    while not merge and any(list_ and not rings.get(vcpu, "tail") for vcpu, list_ in enumerate(records)):
        pass  # a short run is written as one batch, which C merges
    assert recorder.finish(summary if summary is not None else {}) == path
    return in_time(row(vcpu, seq, record) for vcpu, list_ in enumerate(records) for seq, record in enumerate(list_))


def pytest_fail(error):
    raise AssertionError(f"the recorder failed: {error}")


def mutations(content, count):
    """So many copies of a file, with one to four numbers overwritten somewhere; the same ones each time."""
    rng = random.Random(2)
    for _ in range(count):
        mutated = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(mutated))
            width = rng.choice((1, 1, 4, 8))
            value = rng.choice((0, 255, 1 << 30, (1 << 62) + 8, (1 << 64) - 1, rng.getrandbits(64)))
            mutated[at : at + width] = value.to_bytes(8, "little")[:width]
        yield mutated
