"""Which ports print, and where: from the spec in a trace's metadata, however damaged, and from the devices' names."""

import json

import pytest

from tracer.read.printed import Port, ports
from vmspec.trace import keys
from vmspec.trace.record import FLAGS


def found(devices, *tables):
    text = "".join(f"[[device]]\n{table}\n" for table in tables)
    return ports({keys.SPEC: text}, devices)


def test_serial_ports_come_first_and_each_kind_in_the_order_of_the_spec():
    tables = ('kind = "debug-port"', 'kind = "rtc"', 'kind = "serial"', 'kind = "serial"\ncom = 2')
    assert found(["debug-port0", "rtc0", "serial0", "serial1"], *tables) == [
        Port("serial0", "serial", 0x3F8, ("", "stdout")),
        Port("serial1", "serial", 0x2F8, ("", "stdout")),
        Port("debug-port0", "debug-port", 0xE9, ("", "stdout")),
    ]


def test_ports_with_one_output_print_to_one_place():
    first, second = found(
        ["serial0", "debug-port0"], 'kind = "serial"\noutput = "a"', 'kind = "debug-port"\noutput = "a"'
    )
    assert first.sink == second.sink == ("", "a")


def test_ports_whose_output_goes_nowhere_do_not_print_to_one_place():
    tables = [f'kind = "{kind}"\noutput = "none"' for kind in ("serial", "debug-port", "virtio-console")]
    sinks = {port.sink for port in found(["serial0", "debug-port0", "virtio-console0"], *tables)}
    assert sinks == {("serial0",), ("debug-port0",), ("virtio-console0",)}


CONSOLE = """kind = "virtio-console"
[[device.ports]]
name = "log"
output = "log.txt"
[[device.ports]]
output = "stdout"
[[device.ports]]
name = "agent"
"""


def test_a_virtio_console_comes_between_and_has_its_named_ports():
    """A port's number is the one in the table of outputs; one without an output prints to a place of its own."""
    names = ["debug-port0", "virtio-console0", "serial0"]
    assert found(names, 'kind = "debug-port"', CONSOLE, 'kind = "serial"')[1:-1] == [
        Port("virtio-console0", "virtio-console", None, ("", "stdout"), "virtio-console0", 0),
        Port("virtio-console0.log", "virtio-console", None, ("", "log.txt"), "virtio-console0", 1),
        Port("virtio-console0.2", "virtio-console", None, ("", "stdout"), "virtio-console0", 2),
        Port("virtio-console0.agent", "virtio-console", None, ("virtio-console0.agent",), "virtio-console0", 3),
    ]


@pytest.mark.parametrize("listed", ["", "ports = 1", "ports = [1]", 'ports = "log"'])
def test_a_virtio_console_without_named_ports(listed):
    [port] = found(["virtio-console0"], f'kind = "virtio-console"\noutput = "a"\n{listed}')
    assert port == Port("virtio-console0", "virtio-console", None, ("", "a"), "virtio-console0", 0)


def test_a_device_of_the_users_prints_if_it_is_in_the_table_of_outputs():
    """Behind all others; the spec says nothing of it."""
    assert found(["own0", "debug-port0"]) == [Port("debug-port0", "debug-port", None, ("debug-port0",))]
    assert ports({}, ["own0", "debug-port0"], {"own0"})[1:] == [Port("own0", "own", None, ("", "stdout"), "own0", 0)]


@pytest.mark.parametrize(
    ("com", "base"),
    [("1", 0x3F8), ("2", 0x2F8), ("3", 0x3E8), ("4", 0x2E8), ("0", None), ("5", None), ('"1"', None), ("[1]", None)],
)
def test_the_first_port_of_each_com(com, base):
    [port] = found(["serial0"], f'kind = "serial"\ncom = {com}')
    assert (port.base, port.width, port.sink) == (base, 8, ("", "stdout"))


@pytest.mark.parametrize(
    ("given", "base"),
    [('"0x402"', 0x402), ("0x402", 0x402), ("0", 0), ("65535", 65535), ("65536", None), ("-1", None), ('"x"', None)],
)
def test_the_port_of_a_debug_port(given, base):
    [port] = found(["debug-port0"], f'kind = "debug-port"\nport = {given}\noutput = "log"')
    assert port == Port("debug-port0", "debug-port", base, ("", "log"))
    assert port.width == 1


@pytest.mark.parametrize("spec", ["", "[[device]]\nkind = 1", "device = 1", "device = [1]", "not TOML"])
def test_a_port_that_the_spec_does_not_have_prints_to_a_place_of_its_own(spec):
    assert ports({keys.SPEC: spec}, ["serial0", "serial1"]) == [
        Port("serial0", "serial", None, ("serial0",)),
        Port("serial1", "serial", None, ("serial1",)),
    ]


def test_a_port_beyond_those_of_the_spec():
    assert found(["serial0", "serial1"], 'kind = "serial"')[1] == Port("serial1", "serial", None, ("serial1",))


def test_machines_of_a_merged_trace_have_their_own():
    def spec(com):
        return {keys.SPEC: f'[[device]]\nkind = "serial"\ncom = {com}'}

    merged = json.dumps([{"name": "a", "metadata": spec(1)}, {"name": "b", "metadata": spec(2)}])
    assert ports({keys.MERGED: merged}, ["a/serial0", "b/serial0"]) == [
        Port("a/serial0", "serial", 0x3F8, ("a", "stdout")),
        Port("b/serial0", "serial", 0x2F8, ("b", "stdout")),
    ]
    assert ports({keys.MERGED: merged}, ["c/serial0"]) == [Port("c/serial0", "serial", None, ("c/serial0",))]


def row(addr, size=1, device="serial0", flags=0, reason="io"):
    return {"addr": addr, "size": size, "device": device, "flags": flags, "reason": reason}


SERIAL = Port("serial0", "serial", 0x3F8, ("", "stdout"))
SPLIT = FLAGS["SPLIT"]


@pytest.mark.parametrize(
    ("access", "offset"),
    [
        (row(0x3F8), 0),
        (row(0x3FF), 7),
        (row(0x3F7, device="rtc0"), None),
        (row(0x3F7, 2, "rtc0"), None),
        (row(0x3F7, 2, "rtc0", SPLIT), -1),
        (row(0x3F7, 1, "rtc0", SPLIT), None),
        (row(0x3F5, 4, "rtc0", SPLIT), -3),
        (row(0x3FF, 2, "rtc0", SPLIT), 7),
        (row(0x400, 2, "rtc0", SPLIT), None),
        (row(0x3F7, 2, "rtc0", SPLIT, "mmio"), None),
        (row(0x3F7, 2, "b/rtc0", SPLIT), None),
        (row(0x3F7, 2, "serial0"), -1),
    ],
)
def test_the_offset_of_an_access(access, offset):
    """That of a split access counts if any of its bytes reaches the port, whichever device of the machine is first."""
    assert SERIAL.offset(access) == offset


def test_the_offset_where_no_spec_says_the_base():
    port = SERIAL._replace(base=None)
    assert [port.offset(row(addr)) for addr in (0x3F8, 0x2F9, 0xFF)] == [0, 1, 7]
    assert port.offset(row(0x3F8, device="rtc0")) is None
    assert port.offset(row(0x3F7, 2, "rtc0", SPLIT)) is None
