"""pcapng: serial traffic, parsed by a library; the link layer's header by its description."""

import struct

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.comparefakes import exit_row, write_trace
from tests.tracer.export.exportfakes import exported
from tracer.cli import main
from tracer.export.pcap import DATA_RX_START, DATA_TX_START, STATUS_CHANGE, Uart
from vmspec.trace.record import FLAGS

THR, IIR, LCR, MCR, LSR, MSR = 0x3F8, 0x3FA, 0x3FB, 0x3FC, 0x3FD, 0x3FE
DTR, RTS, CTS, DSR, DCD = 0x10, 0x08, 0x01, 0x04, 0x02


def write(addr, data, **values):
    return exit_row(addr=addr, data=data, **values)


def read(addr, data, **values):
    return exit_row(addr=addr, data=data, direction="read", **values)


def packets(path):
    """(time, event, lines, data) of all packets."""
    found = []
    with path.open("rb") as file:
        reader = dpkt.pcapng.Reader(file)
        assert reader.datalink() == 250
        for t, packet in reader:
            seconds, microseconds, event, lines, footer = struct.unpack(">IIBBH", packet[:12])
            assert footer == 0
            assert float(t) == pytest.approx(seconds + microseconds / 1e6, abs=1e-6)
            found.append((float(t), event, lines, packet[12:]))
    return found


def test_what_the_guest_sends(tmp_path):
    found = packets(exported(tmp_path, "pcap"))
    assert [(event, lines, data) for _, event, lines, data in found] == [
        *((DATA_TX_START, 0, bytes([byte])) for byte in b"boot\n"),
        (DATA_TX_START, 0, b"string I/O\n!"),
    ]
    assert [t for t, *_ in found] == pytest.approx([0, 1e-6, 2e-6, 3e-6, 4e-6, 8e-6])


def test_times_are_nanoseconds(tmp_path):
    trace = exported(tmp_path, "pcap", [write(THR, 65, t_exit=5_123_456_789)])
    assert struct.pack("<II", 5_123_456_789 >> 32, 5_123_456_789 & 0xFFFFFFFF) in trace.read_bytes()


def test_what_the_guest_receives(tmp_path):
    rows = [
        read(THR, 0),  # nothing was there
        read(LSR, 0x61),
        read(THR, ord("h")),
        read(LSR, 0x60),
        read(THR, 0),
        read(IIR, 0xCC),
        read(THR, ord("i")),
    ]
    found = packets(exported(tmp_path, "pcap", rows))
    assert [(event, data) for _, event, _, data in found] == [(DATA_RX_START, b"h"), (DATA_RX_START, b"i")]


def test_control_lines(tmp_path):
    rows = [write(MCR, 0x0B), write(MCR, 0x0B), read(MSR, 0xB0), write(THR, 65), write(MCR, 0x00)]
    found = packets(exported(tmp_path, "pcap", rows))
    all_ = DTR | RTS | CTS | DSR | DCD
    assert [(event, lines, data) for _, event, lines, data in found] == [
        (STATUS_CHANGE, DTR | RTS, b""),
        (STATUS_CHANGE, all_, b""),
        (DATA_TX_START, all_, b"A"),
        (STATUS_CHANGE, all_ & ~(DTR | RTS), b""),
    ]


def test_divisor_latch_and_loopback_move_nothing(tmp_path):
    rows = [
        *(write(LCR, 0x83), write(THR, 1), read(THR, 1), write(LCR, 0x03)),
        *(write(MCR, 0x10), write(THR, 65), read(LSR, 0x61), read(THR, 65), write(MCR, 0x00)),
        write(THR, 66),
    ]
    assert [data for _, _, _, data in packets(exported(tmp_path, "pcap", rows))] == [b"B"]


def test_each_port_is_an_interface(tmp_path):
    rows = [write(THR, 65), write(0x2F8, 66, device="serial1")]
    path = exported(tmp_path, "pcap", rows, devices=("serial0", "serial1"))
    assert b"serial0" in path.read_bytes()
    assert b"serial1" in path.read_bytes()
    assert [data for *_, data in packets(path)] == [b"A", b"B"]


def test_the_part_of_a_split_access_that_reaches_the_port(tmp_path):
    """The row of such an access has the device that its first byte went to."""
    split = {"size": 2, "device": "rtc0", "flags": FLAGS["SPLIT"]}
    rows = [
        write(THR - 1, 0x4100, **split),
        read(THR - 1, 0x4200, **split),  # nothing was there
        write(THR - 1, 0x4300, **split | {"reason": "mmio"}),
        write(THR - 1, 0x4400, **split | {"flags": 0}),
    ]
    spec = '[[device]]\nkind = "serial"\n'
    path = exported(tmp_path, "pcap", rows, devices=("serial0", "rtc0"), metadata={"vmrun.spec": spec})
    assert [(event, data) for _, event, _, data in packets(path)] == [(DATA_TX_START, b"A")]


def test_a_machine_without_a_serial_port(tmp_path, capsys):
    path = write_trace(tmp_path / "a.arrow", [], devices=("rtc0",))
    assert main(["export", str(path), "--pcap"]) == 2
    assert "no serial port; its devices: rtc0" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


@given(st.lists(st.tuples(st.integers(0, 7), st.booleans(), st.binary(max_size=8))))
def test_any_accesses(accesses):
    uart = Uart("serial0")
    for offset, is_write, item in accesses:
        for packet in uart.access(0, offset, is_write, item):
            assert packet.event in (STATUS_CHANGE, DATA_TX_START, DATA_RX_START)
            assert 0 <= packet.lines < 0x40
