"""Reads a pcapng file (draft-ietf-opsawg-pcapng) as strictly as the draft lets a reader be."""

import struct
from pathlib import Path
from typing import Any, NamedTuple

SECTION, INTERFACE, STATISTICS, PACKET = 0x0A0D0D0A, 1, 5, 6


class Packet(NamedTuple):
    """A captured frame: ns since 1970, "in" to the guest or "out" of it, and its bytes."""

    time: int
    way: str
    frame: bytes


class Captured(NamedTuple):
    """What a file of one interface has; ``statistics`` are the options of the block at its end, None: there is none."""

    interface: dict[int, bytes]
    packets: list[Packet]
    statistics: dict[int, int] | None


def options(data: bytes) -> dict[int, bytes]:
    """The options of a block, by code."""
    found, at = {}, 0
    while True:
        code, size = struct.unpack_from("<HH", data, at)
        if code == 0:
            assert (size, at + 4) == (0, len(data))
            return found
        found[code] = data[at + 4 : at + 4 + size]
        assert len(found[code]) == size
        assert not any(data[at + 4 + size : at + 4 + size + -size % 4])
        at += 4 + size + -size % 4


def blocks(data: bytes) -> list[tuple[int, bytes]]:
    """Type and body of each block; none is cut short."""
    found, at = [], 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        assert size >= 12
        assert size % 4 == 0
        assert at + size <= len(data)
        assert data[at + size - 4 : at + size] == struct.pack("<I", size)
        found.append((kind, data[at + 8 : at + size - 4]))
        at += size
    return found


def read(path: Path) -> Captured:
    """Read a file; AssertionError: it is none."""
    return parsed(path.read_bytes())


def parsed(data: bytes) -> Captured:
    """Read a file's bytes; AssertionError: it is none."""
    (section, head), (interface, described), *rest = blocks(data)
    assert (section, interface) == (SECTION, INTERFACE)
    assert struct.unpack_from("<IHHq", head) == (0x1A2B3C4D, 1, 0, -1)
    options(head[16:])
    assert struct.unpack_from("<HHI", described) == (1, 0, 0)
    about = options(described[8:])
    assert about[9] == b"\x09"
    packets: list[Packet] = []
    statistics: dict[int, int] | None = None
    for kind, body in rest:
        assert statistics is None
        number, high, low, *more = struct.unpack_from("<IIIII", body.ljust(20, b"\0"))
        assert number == 0
        if kind == STATISTICS:
            values: dict[int, Any] = options(body[12:])
            statistics = {code: int.from_bytes(value, "little") for code, value in values.items()}
            continue
        assert kind == PACKET
        captured, original = more
        assert captured == original
        flags = options(body[20 + captured + -captured % 4 :])[2]
        way = {1: "in", 2: "out"}[int.from_bytes(flags, "little")]
        packets.append(Packet(high << 32 | low, way, body[20 : 20 + captured]))
    return Captured(about, packets, statistics)
