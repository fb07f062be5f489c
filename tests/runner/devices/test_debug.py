"""Debug port, POST port and debug exit."""

import pytest

from runner.devices.debug import DebugExit, DebugPort, PostPort


def test_debug_port_prints_without_python(plug):
    guest = plug(DebugPort(), region="port")
    for byte in b"text":
        guest.write(0, byte)
    calls = guest.calls
    guest.flush()
    assert (guest.text, calls) == (b"text", 0)


def test_debug_port_tells_that_it_is_there(plug):
    guest = plug(DebugPort(), region="port")
    assert (guest.read(0), guest.calls, guest.device.read("port", 0, 1)) == (0xE9, 0, 0xE9)


def test_debug_port_prints_what_is_not_queued(plug):
    guest = plug(DebugPort(), alone=True, region="port")
    guest.write(0, ord("x"))
    assert guest.text == b"x"


def test_post_port_takes_codes_without_python(plug):
    guest = plug(PostPort(), region="port")
    guest.write(0, 0x55)
    assert (guest.read(0), guest.calls) == (0xFF, 0)


@pytest.mark.parametrize(("value", "size", "status"), [(0, 1, 1), (0x10, 1, 0x21), (0x80, 4, 1), (0x1234, 2, 0x69)])
def test_debug_exit_status(plug, value, size, status):
    guest = plug(DebugExit(), region="port")
    guest.write(0, value, size)
    assert guest.ends == [("debug-exit", status)]


def test_debug_exit_reads_as_zero(plug):
    """As QEMU's (hw/misc/debugexit.c)."""
    assert plug(DebugExit(), region="port").read(0, 4) == 0
