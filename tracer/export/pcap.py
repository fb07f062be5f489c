"""Serial traffic as a pcapng file for Wireshark: a packet for each access that moved data, with direction and time.

The container is pcapng (draft-ietf-opsawg-pcapng), an interface per serial port, with times in ns. A packet is
LINKTYPE_RTAC_SERIAL (tcpdump.org/linktypes): seconds and microseconds, the event, the control lines, two zero bytes,
all big-endian, then the data. Changes of the control lines are events of their own.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

from tracer.format.errors import TraceError
from tracer.format.rowfile import dicts
from tracer.read.printed import SERIAL, Port, ports, reaching
from tracer.read.reader import Trace
from vmspec.registers import serial as R

COLUMNS = ("t_exit", "reason", "addr", "size", "count", "direction", "data", "payload", "device", "flags")
LINKTYPE_RTAC_SERIAL = 250
STATUS_CHANGE, DATA_TX_START, DATA_RX_START = 0x00, 0x01, 0x02  # events
CTS, DCD, DSR, RTS, DTR, RING = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20  # bits of the control lines

# The control lines by the 16550A's bits.
MCR_LINES = {R.DTR: DTR, R.RTS: RTS}
MSR_LINES = {R.CTS: CTS, R.DSR: DSR, R.RI: RING, R.DCD: DCD}

SECTION, INTERFACE, PACKET = 0x0A0D0D0A, 0x00000001, 0x00000006  # block types
BYTE_ORDER = 0x1A2B3C4D
# Options: of all blocks, of a section, of an interface.
OPT_END, OPT_COMMENT, SHB_USERAPPL, IF_NAME, IF_DESCRIPTION, IF_TSRESOL = 0, 1, 4, 2, 3, 9
NANOSECONDS = b"\x09"  # 10 to the power of -9


class Packet(NamedTuple):
    """``t`` in ns; ``lines`` are the control lines after the event."""

    port: str
    t: int
    event: int
    lines: int
    data: bytes


class Uart:
    """The state of a serial port, from the accesses to it.

    A read of the receive buffer counts as data if the last read of the line status or the interrupt identification
    reported some; a guest that reads it without asking got nothing. Divisor latch and loopback move no data.
    """

    def __init__(self, port: str) -> None:
        self._port = port
        self._lcr = self._mcr = self._lines = 0
        self._ready = False

    def access(self, t: int, offset: int, write: bool, item: bytes) -> Iterator[Packet]:
        """One access to one or more registers, the first at ``offset``; offsets outside are no registers."""
        for register, value in enumerate(item, offset):
            match register, write:
                case (R.RBR | R.THR, _) if self._lcr & R.DLAB or self._mcr & R.LOOP:
                    pass  # the divisor latch; bytes looped back never left
                case (R.THR, True):
                    yield Packet(self._port, t, DATA_TX_START, self._lines, bytes([value]))
                case (R.RBR, False) if self._ready:
                    yield Packet(self._port, t, DATA_RX_START, self._lines, bytes([value]))
                case (R.IIR, False):
                    received = value & R.INTERRUPT_ID in (R.RECEIVED_DATA, R.CHARACTER_TIMEOUT)
                    self._ready = self._ready or received
                case (R.LCR, True):
                    self._lcr = value
                case (R.MCR, True):
                    self._mcr = value
                    yield from self._changed(t, MCR_LINES, value)
                case (R.LSR, False):
                    self._ready = bool(value & R.DR)
                case (R.MSR, False) if not self._mcr & R.LOOP:
                    yield from self._changed(t, MSR_LINES, value)

    def _changed(self, t: int, bits: Mapping[int, int], value: int) -> Iterator[Packet]:
        lines = self._lines
        for bit, line in bits.items():
            lines = lines | line if value & bit else lines & ~line
        if lines != self._lines:
            self._lines = lines
            yield Packet(self._port, t, STATUS_CHANGE, lines, b"")


def packets(trace: Trace) -> Iterator[Packet]:
    """The traffic of all serial ports, by time."""
    uarts = [(port, Uart(port.name)) for port in _serial(trace)]
    names = [port.name for port, _ in uarts]
    for batch in trace.batches(COLUMNS):
        for row in dicts(batch.filter(reaching(batch, names))):
            for port, uart in uarts:
                if (offset := port.offset(row)) is not None:
                    yield from _packets(uart, offset, row)


def _serial(trace: Trace) -> list[Port]:
    return [port for port in ports(trace.metadata, trace.devices) if port.kind == SERIAL]


def _packets(uart: Uart, offset: int, row: Mapping[str, Any]) -> list[Packet]:
    """The packets of one exit. Items of string I/O are one packet if all of them are data."""
    size = max(row["size"], 1)
    moved = (row["payload"] or row["data"].to_bytes(8, "little"))[: size * row["count"]]
    found = [
        packet
        for start in range(0, len(moved), size)
        for packet in uart.access(row["t_exit"], offset, row["direction"] == "write", moved[start : start + size])
    ]
    if len(found) > 1 and {packet.event for packet in found} in ({DATA_TX_START}, {DATA_RX_START}):
        return [found[0]._replace(data=b"".join(packet.data for packet in found))]
    return found


def write(trace: Trace, out: BinaryIO) -> None:
    """Write the traffic. Raises TraceError for a machine without serial ports."""
    names = [port.name for port in _serial(trace)]
    if not names:
        raise TraceError(
            f"{trace.path}: the machine has no serial port; its devices: {', '.join(trace.devices) or '-'}"
        )
    comment = b"Times are since the machine started."
    body = struct.pack("<IHHq", BYTE_ORDER, 1, 0, -1)  # version 1.0, of unspecified length
    out.write(_block(SECTION, body + _options({OPT_COMMENT: comment, SHB_USERAPPL: b"vmtrace export"})))
    for port in names:
        options = {IF_NAME: port.encode(), IF_DESCRIPTION: b"serial port of the guest", IF_TSRESOL: NANOSECONDS}
        out.write(_block(INTERFACE, struct.pack("<HHI", LINKTYPE_RTAC_SERIAL, 0, 0) + _options(options)))
    numbers = {port: number for number, port in enumerate(names)}
    for packet in packets(trace):
        t = max(packet.t, 0)
        seconds, ns = divmod(t, 1_000_000_000)
        data = struct.pack(">IIBBH", seconds & 0xFFFFFFFF, ns // 1000, packet.event, packet.lines, 0) + packet.data
        head = struct.pack("<IIIII", numbers[packet.port], t >> 32, t & 0xFFFFFFFF, len(data), len(data))
        out.write(_block(PACKET, head + _padded(data)))


def _block(type_: int, body: bytes) -> bytes:
    """A block: its type, its length before and after the body."""
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", type_) + length + body + length


def _options(options: Mapping[int, bytes]) -> bytes:
    return b"".join(
        struct.pack("<HH", code, len(value)) + _padded(value) for code, value in [*options.items(), (OPT_END, b"")]
    )


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
