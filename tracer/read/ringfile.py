"""The ring file after its writer is gone: nothing in it is trusted. Layout: vmspec.trace.record."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from attrs import frozen

from tracer.format.errors import TraceError
from vmspec.trace import keys
from vmspec.trace.record import (
    EXITS,
    HEADER,
    NO_DEVICE,
    PAGE,
    PAUSE,
    PAUSES,
    PAUSES_AT,
    RECORD_SIZE,
    RING,
    RING_MAGIC,
    RING_VERSION,
    pauses,
)
from vmspec.trace.requests import REQUESTS
from vmspec.trace.table import Field, Table

WIDTHS = {"int16_t": ("h", 2), "uint8_t": ("B", 1), "uint16_t": ("H", 2), "uint32_t": ("I", 4), "uint64_t": ("Q", 8)}

METADATA_LIMIT = 64 << 20  # bytes
PAYLOAD_LIMIT = 1 << 30  # bytes of one ring: payload offsets in a batch are int32
UNNAMED = [f"device{number}" for number in range(256)]
CHUNK = 65536  # records read at a time


@frozen
class Ring:
    """A ring of records of ``table``: one vCPU's exits, or the requests (``vcpu`` -1). ``control`` is its control
    block, fields by name; ``pauses`` are the vCPU's newest, as TSCs; offsets are bytes in the file."""

    table: Table
    vcpu: int
    control: dict[str, int]
    pauses: tuple[tuple[int, int], ...]
    slots_at: int
    payload_at: int

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"vCPU {self.vcpu}" if self.vcpu >= 0 else self.table.name


class RingFile:
    """An opened ring file: header, metadata with the devices' names, and the rings that can be read: ``rings`` of the
    vCPUs, and ``requests``, None where none are recorded or that ring is damaged.

    ``problems`` says, one sentence each, what is wrong with parts that were left out. Raises TraceError when it is
    not a ring file at all, or its header makes no sense.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata: dict[str, str]
        self.problems: list[str] = []
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise TraceError(f"cannot open {path}: {error.strerror}") from error
        try:
            self._read_header()
        except OSError as error:
            self.close()
            raise TraceError(f"cannot read {path}: {error.strerror}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def __enter__(self) -> "RingFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def records(self, ring: Ring, first: int, stop: int) -> Iterator[tuple[int, memoryview]]:
        """Records ``first`` to ``stop``, as (number of the first, raw records) of up to CHUNK; fewer in a truncated
        file."""
        while first < stop:
            slot = first % self.slots
            count = min(stop - first, self.slots - slot, CHUNK)
            raw = self._read(ring.slots_at + slot * RECORD_SIZE, count * RECORD_SIZE)
            whole = len(raw) // RECORD_SIZE
            if whole:
                yield first, memoryview(raw)[: whole * RECORD_SIZE]
            if whole < count:
                return
            first += count

    def payload(self, ring: Ring, offset: int, length: int) -> bytes:
        """``length`` bytes, at most the ring's payload size, from a running payload offset; shorter in a truncated
        file."""
        at = offset % self.payload_size
        before_wrap = min(length, self.payload_size - at)
        data = self._read(ring.payload_at + at, before_wrap)
        return data + self._read(ring.payload_at, length - before_wrap) if length > before_wrap else data

    def nanoseconds(self, tsc: int) -> int | None:
        """A stamp as the trace's time, in ns since time 0; None if it was not set."""
        return max(tsc - self.tsc_start, 0) * 1_000_000 // self.tsc_khz if tsc else None

    def paused(self, ring: Ring) -> tuple[int, list[list[int]]]:
        """How long a vCPU was paused, in ns, and when, in ns since time 0: until now as far as the recorder knows, and
        of the pauses the newest (:func:`vmspec.trace.record.pauses`)."""
        return pauses(ring.control["paused"], self.tsc_seen, ring.pauses, self.tsc_start, self.tsc_khz)

    def _read_header(self) -> None:
        size = os.fstat(self._file).st_size
        header = unpack(HEADER, self._read(0, PAGE))
        if header is not None and header["magic"] == 0 and size > PAGE:
            raise TraceError(f"{self.path}: the run ended before its guest started; there is nothing to recover")
        if header is None or header["magic"] != RING_MAGIC:
            raise TraceError(f"{self.path} is not a ring file of vmrun")
        if header["version"] != RING_VERSION:
            raise TraceError(
                f"{self.path}: ring file version {header['version']}, this vmtrace reads {RING_VERSION}: "
                "recover it with the release that recorded it"
            )
        self.slots = header["slots"]
        self.payload_size = header["payload_size"]
        self.tsc_start = header["tsc_start"]
        self.tsc_khz = header["tsc_khz"]
        self.tsc_seen = header["tsc_seen"]
        sane = (
            _power_of_two(self.slots)
            and _power_of_two(self.payload_size)
            and self.payload_size <= PAYLOAD_LIMIT
            and 0 < self.tsc_khz < 10**9
            and 0 < header["rings"] <= 65536
            and PAGE + header["metadata_size"] <= header["first_ring"]
            and header["metadata_size"] <= METADATA_LIMIT
            and PAGE + self.slots * RECORD_SIZE + self.payload_size <= header["ring_size"]
        )
        if not sane:
            raise TraceError(f"{self.path}: the header of the ring file is damaged")
        self._read_metadata(header["metadata_size"])
        self.rings = []
        for vcpu in range(header["rings"]):
            start = header["first_ring"] + vcpu * header["ring_size"]
            if start + PAGE > size:
                self.problems.append(f"the file ends before the ring of vCPU {vcpu}")
                break
            if (ring := self._ring(EXITS, vcpu, start)) is not None:
                self.rings.append(ring)
        at = header["requests"]
        self.requests = self._ring(REQUESTS, -1, at) if at and at + PAGE <= size else None
        if at and at + PAGE > size:
            self.problems.append("the file ends before the ring of the requests")

    def _ring(self, table: Table, vcpu: int, start: int) -> Ring | None:
        page = self._read(start, PAGE)
        control = unpack(RING, page)
        slots_at = start + PAGE
        made = Ring(
            table,
            vcpu,
            control or {},
            _pauses(control["pauses"], page) if control is not None else (),
            slots_at,
            slots_at + self.slots * RECORD_SIZE,
        )
        if control is not None and self._consistent(control):
            return made
        self.problems.append(f"{made.name}: the ring's control block is damaged")
        return None

    def _consistent(self, control: dict[str, int]) -> bool:
        return (
            0 <= control["head"] - control["tail"] <= self.slots
            and 0 <= control["payload_head"] - control["payload_tail"] <= self.payload_size
        )

    def _read_metadata(self, size: int) -> None:
        if not size:
            self.metadata = {keys.DEVICES: json.dumps(UNNAMED)}
            self.problems.append("the run was killed before it wrote its metadata: devices have numbers, not names")
            return
        try:
            content = json.loads(self._read(PAGE, size))
            metadata, devices = content["metadata"], content["devices"]
            texts = [*metadata, *metadata.values(), *devices]
            if not isinstance(devices, list) or not all(isinstance(text, str) for text in texts):
                raise TypeError
            "".join(texts).encode()  # JSON can spell lone surrogates, which Arrow cannot hold
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise TraceError(f"{self.path}: the metadata of the ring file is damaged") from None
        if len(devices) > 32766 or len({NO_DEVICE, *devices}) <= len(devices):
            raise TraceError(f"{self.path}: the device names in the ring file are damaged")
        self.metadata = {**metadata, keys.DEVICES: json.dumps(devices)}

    def _read(self, offset: int, length: int) -> bytes:
        """Bytes of the file; fewer at its end."""
        size = os.fstat(self._file).st_size
        return os.pread(self._file, min(length, max(size - offset, 0)), min(offset, size))


def _pauses(begun: int, page: bytes) -> tuple[tuple[int, int], ...]:
    """The newest pauses in a control block's page, in order; of a damaged one those that can be."""
    found: list[tuple[int, int]] = []
    size = sum(WIDTHS[field.ctype][1] for field in PAUSE)
    for number in range(max(begun - PAUSES, 0), begun):
        entry = unpack(PAUSE, page[PAUSES_AT + number % PAUSES * size :])
        if entry is not None and (not found or found[-1][1] <= entry["begin"]):
            found.append((entry["begin"], entry["end"]))
    return tuple(found)


def unpack(fields: tuple[Field, ...], raw: bytes) -> dict[str, int] | None:
    """The values of a C struct without padding at the start of ``raw``, by name; None if it is too short."""
    values = {}
    at = 0
    for field in fields:
        code, width = WIDTHS[field.ctype]
        if at + width > len(raw):
            return None
        values[field.name] = int.from_bytes(raw[at : at + width], "little", signed=code == "h")
        at += width
    return values


def columns(fields: tuple[Field, ...], raw: memoryview) -> dict[str, memoryview]:
    """Whole raw records as one strided view per field."""
    views = {}
    at = 0
    for field in fields:
        code, width = WIDTHS[field.ctype]
        views[field.name] = raw.cast(code)[at // width :: RECORD_SIZE // width]  # type: ignore[call-overload]
        at += width
    return views


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0
