"""Packets of the protocol (gdb manual, E.1 Overview): ``$data#checksum``, and single bytes between them."""

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

LONGEST = 0x4000  # bytes of a packet's data, as the client is told (PacketSize)
ESCAPE, FLIPPED = 0x7D, 0x20
SPECIAL = b"#$}*"  # "*" begins a run in what the client receives
END = 3  # bytes: "#" and the checksum


class PacketError(Exception):
    """What the client sends is not the protocol; the connection cannot go on."""


class Byte(Enum):
    """What is sent between packets: whether the last packet arrived well, and the request to stop the guest."""

    GOOD = b"+"
    AGAIN = b"-"
    STOP = b"\x03"


class Packet(NamedTuple):
    """A packet's data, or None if its checksum is wrong."""

    data: bytes | None


class Reader:
    """Finds packets in bytes that arrive in pieces. It keeps at most one packet."""

    def __init__(self) -> None:
        self._input = bytearray()

    def feed(self, data: bytes) -> Iterator[Packet | Byte]:
        """What is complete with these bytes. Raises PacketError if a packet is too long."""
        self._input += data
        while self._input:
            if (first := bytes(self._input[:1])) != b"$":
                del self._input[0]
                if first in (byte.value for byte in Byte):  # other bytes are left of a broken packet
                    yield Byte(first)
                continue
            end = self._input.find(b"#", 1)
            if len(self._input if end < 0 else self._input[:end]) > LONGEST + 1:
                raise PacketError(f"a packet is longer than {LONGEST} bytes")
            if end < 0 or len(self._input) < end + END:
                return
            raw, checksum = bytes(self._input[1:end]), bytes(self._input[end + 1 : end + END])
            del self._input[: end + END]
            yield Packet(unescaped(raw) if checksum.lower() == b"%02x" % (sum(raw) % 256) else None)


def unescaped(data: bytes) -> bytes:
    """The bytes for which escapes stand. One at the end, without its byte, is dropped."""
    found, at = bytearray(), 0
    while (escape := data.find(ESCAPE, at)) >= 0:
        found += data[at:escape]
        found += bytes(byte ^ FLIPPED for byte in data[escape + 1 : escape + 2])
        at = escape + 2
    return bytes(found + data[at:])


def packet(data: bytes) -> bytes:
    """A packet as it is sent."""
    for byte in (ESCAPE, *(byte for byte in SPECIAL if byte != ESCAPE)):
        data = data.replace(bytes([byte]), bytes([ESCAPE, byte ^ FLIPPED]))
    return b"$%b#%02x" % (data, sum(data) % 256)
