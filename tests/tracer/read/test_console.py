"""The console, rebuilt from the guest's writes to its ports."""

import json

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import tracer
from tests.fakes.tablefakes import write_table
from tests.fakes.tracefakes import DEVICES, METADATA, exit_, record_all
from tracer.analysis.merge import merge
from tracer.format.errors import TraceError
from tracer.read.console import COLUMNS, Console, Line
from vmspec.trace import keys
from vmspec.trace.outputs import OUTPUTS
from vmspec.trace.record import FLAGS


@pytest.fixture
def console(tmp_path):
    """The console of a run with these exits, one per microsecond unless they say otherwise."""

    def make(*exits, device=None):
        path = tmp_path / "boot.arrow"
        record_all(path, [[exit_(**{"t": 1000 * (at + 1), **fields}) for at, fields in enumerate(exits)]])
        return Console(tracer.load(path), DEVICES, device)

    return make


def out(text, **fields):
    return [{"data": bytes([byte]), **fields} for byte in text]


def test_bytes_written_to_the_port_are_the_text(console):
    assert console(*out(b"a\x00\xffz")).text == b"a\x00\xffz"


def test_string_output_is_all_of_its_bytes(console):
    exits = [*out(b"<"), {"data": b"y" * 4000}, {"data": b"seven77"}, *out(b">")]
    assert console(*exits).text == b"<" + b"y" * 4000 + b"seven77>"


def test_reads_other_registers_and_other_devices_are_no_text(console):
    exits = [*out(b"a"), {"direction": "read"}, {"addr": 0x3F9}, {"addr": 0xE9, "device": "debug-port0"}, *out(b"b")]
    assert console(*exits).text == b"ab"


def test_the_divisor_latch_is_no_text(console):
    exits = [*out(b"a"), {"addr": 0x3FB, "data": b"\x83"}, *out(b"\x01"), {"addr": 0x3FB, "data": b"\x03"}, *out(b"b")]
    assert console(*exits).text == b"ab"


def test_loopback_is_no_text(console):
    exits = [{"addr": 0x3FC, "data": b"\x1b"}, *out(b"a"), {"addr": 0x3FC, "data": b"\x0b"}, *out(b"b")]
    assert console(*exits).text == b"b"


def test_a_wide_write_is_one_to_each_register_it_covers(console):
    exits = [
        {"data": b"A\x00", "size": 2},
        {"data": b"B\x00\x07\x80", "size": 4},  # THR, IER, FCR, and LCR with DLAB
        *out(b"\x01"),
        {"addr": 0x3FB, "data": b"\x03\x10", "size": 2},  # LCR without DLAB, MCR with loopback
        *out(b"x"),
        {"addr": 0x3FC, "data": b"\x00"},
        *out(b"C"),
    ]
    assert console(*exits).text == b"ABC"


def test_text_after_the_divisor_latch_is_text_until_it_returns(console):
    latch, data = {"addr": 0x3FB, "data": b"\x83"}, {"addr": 0x3FB, "data": b"\x03"}
    assert console(*out(b"a"), data, *out(b"b"), latch, *out(b"x"), data, *out(b"c")).text == b"abc"


def test_the_highest_bit_of_modem_control_is_not_the_divisor_latch(console):
    assert console({"addr": 0x3FC, "data": b"\x8b"}, *out(b"a")).text == b"a"


def test_text_between_strings(console):
    assert console({"data": b"yy"}, *out(b"ab"), {"data": b"zz"}).text == b"yyabzz"


def test_a_console_without_text_has_no_lines(console):
    assert console({"addr": 0x3F9}).lines() == []


@pytest.mark.parametrize(("spec", "text"), [("", b"xy"), ('[[device]]\nkind = "serial"\n', b"y")])
def test_an_address_beyond_all_ports_is_no_text_where_the_spec_says_the_port(tmp_path, spec, text):
    exits = [exit_(1000, addr=(1 << 64) - 0x10), exit_(2000, data=b"y")]
    record_all(tmp_path / "boot.arrow", [exits], metadata={"vmrun.spec": spec})
    assert Console(tracer.load(tmp_path / "boot.arrow"), DEVICES).text == text


def test_another_console_can_be_named(console):
    exits = [*out(b"a"), *out(b"debug", addr=0xE9, device="debug-port0")]
    made = console(*exits, device="debug-port0")
    assert (made.text, made.device, made.devices) == (b"debug", "debug-port0", ("debug-port0",))
    assert console(*exits).device == "serial0"


@pytest.mark.parametrize(("devices", "consoles"), [(DEVICES, "serial0, debug-port0"), (["rtc0"], "-")])
def test_a_device_that_is_no_console(tmp_path, devices, consoles):
    record_all(tmp_path / "boot.arrow", [[]])
    with pytest.raises(TraceError) as raised:
        Console(tracer.load(tmp_path / "boot.arrow"), devices, "rtc0")
    assert str(raised.value) == f"'rtc0' is not a console of this machine; its consoles: {consoles}"


def test_lines_have_the_time_of_their_first_byte_and_what_came_before(console):
    exits = [*out(b"one\r\n"), {"addr": 0x70, "device": None}, {"data": b"two\nthree lines\n\nx"}]
    assert console(*exits).lines() == [
        Line(t=1000, gap=1000, row=0, text="one"),
        Line(t=7000, gap=6000, row=6, text="two"),
        Line(t=7000, gap=0, row=6, text="three lines"),
        Line(t=7000, gap=0, row=6, text=""),
        Line(t=7000, gap=0, row=6, text="x"),
    ]


def test_a_line_may_begin_anywhere_in_what_was_written_at_once(console):
    assert console(*out(b"\nb")).lines() == [Line(1000, 1000, 0, ""), Line(2000, 1000, 1, "b")]


def test_a_line_ends_before_its_carriage_returns(console):
    assert [line.text for line in console(*out(b"a \t\r\r\nX\r\n\xff\n")).lines()] == ["a \t", "X", "\ufffd"]


def test_rows_are_those_of_the_trace_in_any_batches(tmp_path):
    record_all(
        tmp_path / "boot.arrow", [[exit_(1000 * at, data=bytes([byte])) for at, byte in enumerate(b"a\nb\ncd\ne")]]
    )
    table = tracer.load(tmp_path / "boot.arrow").table
    cut = pa.concat_tables([table.slice(0, 3), table.slice(3, 1), table.slice(4)])
    assert [line.row for line in Console(cut, DEVICES).lines()] == [0, 2, 4, 7]


def test_only_the_console_s_columns_are_read(console, monkeypatch):
    made, asked, batches = console(*out(b"a")), [], tracer.Trace.batches
    monkeypatch.setattr(
        tracer.Trace, "batches", lambda trace, columns: asked.append(columns) or batches(trace, columns)
    )
    assert (made.text, [set(columns) for columns in asked]) == (b"a", [set(COLUMNS)])


def test_a_table_has_the_same_console(tmp_path):
    record_all(tmp_path / "boot.arrow", [[exit_(1000 * at, data=bytes([byte])) for at, byte in enumerate(b"a\nb")]])
    trace = tracer.load(tmp_path / "boot.arrow")
    assert Console(trace.table, DEVICES).lines() == Console(trace, DEVICES).lines() != []


def test_of_a_line_without_end_the_beginning_is_kept(console):
    made = console({"data": b"x" * 4000}, {"data": b"y" * 4000}, *out(b"z\nend"))
    assert [len(line.text) for line in made.lines()] == [4096, 3]
    assert len(made.text) == 8005


def test_more_lines_than_there_is_room_for_are_refused(console, monkeypatch):
    monkeypatch.setattr("tracer.read.console.LINES_MAX", 2)
    assert len(console(*out(b"a\nb\n")).lines()) == 2
    with pytest.raises(TraceError, match="serial0 has more than 2 lines"):
        console(*out(b"a\nb\nc")).lines()


@pytest.mark.parametrize(
    ("keep", "expected"),
    [(2, (["a", "b", "(2 lines are left out here)", "e", "f"], 2, 2)), (3, (list("abcdef"), 0, None))],
)
def test_the_first_and_the_last_lines(console, keep, expected):
    found = console(*out(b"a\nb\nc\nd\ne\nf")).abridged(keep)
    assert ([line.text for line in found.lines], found.left_out, found.at) == expected
    assert sum(line.gap for line in found.lines[:3]) == found.lines[2].t
    assert [line.row for line in found.lines[:3]] == [0, 2, 4]


def test_no_text_has_no_lines(console):
    assert console({"addr": 0x70, "device": None}).lines() == []


def test_a_machine_without_consoles_has_no_text(tmp_path):
    record_all(tmp_path / "boot.arrow", [[exit_(1, size=2, data=b"xy", device="rtc0", **SPLIT)]])
    console = Console(tracer.load(tmp_path / "boot.arrow").table, ["rtc0"])
    assert (console.device, console.text) == (None, b"")


def test_what_many_writes_to_the_control_registers_cost(console, monkeypatch):
    """A guest may write them as often as others print: calls of Arrow's are made for batches, not for rows."""
    made = console(*[{"addr": 0x3F8 + (0, 3, 4)[n % 3], "data": b"a\x03\x08"[n % 3 : n % 3 + 1]} for n in range(3000)])
    calls = []
    equal = pc.equal
    monkeypatch.setattr(pc, "equal", lambda *given: calls.append(given) or equal(*given))
    assert made.text == b"a" * 1000
    assert len(calls) < 10


SPEC = """[vm]
name = "two"
[[device]]
kind = "serial"
[[device]]
kind = "debug-port"
port = 0x3f7
"""


def two(tmp_path, *exits, spec=SPEC, **fields):
    """A trace of a machine with a serial port and a debug port."""
    path = tmp_path / "two.arrow"
    made = [exit_(**{"t": 1000 * (at + 1), **one}) for at, one in enumerate(exits)]
    record_all(path, [made], metadata={"vmrun.spec": spec}, **fields)
    return tracer.load(path)


DEBUG = {"addr": 0x3F7, "device": "debug-port0"}
SPLIT = {"flags": FLAGS["SPLIT"]}


def test_what_several_devices_print_to_one_place_is_one_text_in_the_guests_order(tmp_path):
    trace = two(tmp_path, *out(b"A"), *out(b"1", **DEBUG), {"data": b"BC"}, {"data": b"23", "size": 1, **DEBUG})
    assert trace.console() == b"A1BC23"
    assert (trace.console("serial0"), trace.console("debug-port0")) == (b"ABC", b"123")
    assert Console(trace.table, trace.devices).text == b"A1BC23"
    assert [line.text for line in Console(trace, trace.devices).lines()] == ["A1BC23"]


def test_more_lines_of_several_devices_than_there_is_room_for(tmp_path, monkeypatch):
    monkeypatch.setattr("tracer.read.console.LINES_MAX", 1)
    trace = two(tmp_path, *out(b"A\nB\n"))
    with pytest.raises(TraceError, match=r"^serial0, debug-port0 has more than 1 lines: vmtrace console prints them$"):
        Console(trace, trace.devices).lines()


@pytest.mark.parametrize("sink", ['"none"', '"debug.txt"'])
def test_what_others_print_elsewhere_is_not_in_it(tmp_path, sink):
    trace = two(tmp_path, *out(b"A"), *out(b"1", **DEBUG), spec=f"{SPEC}output = {sink}\n")
    assert (trace.console(), trace.console("debug-port0")) == (b"A", b"1")


def test_the_part_of_a_split_access_that_reaches_the_data_register_is_text(tmp_path):
    """The row of such an access has the device that its first byte went to."""
    trace = two(
        tmp_path,
        {"addr": 0x3F7, "data": b"1A", "size": 2, "device": "debug-port0", **SPLIT},
        {"addr": 0x3F5, "data": b"..2B", "size": 4, "device": "debug-port0", **SPLIT},
        {"addr": 0x3F7, "data": b"3C4D", "size": 2, "device": "debug-port0", **SPLIT},  # string I/O
        {"addr": 0x3F6, "data": b".5", "size": 2, "device": "debug-port0", **SPLIT},
        {"addr": 0x3FF, "data": b"xy", "size": 2, **SPLIT},
        {"addr": 0x3F8, "data": b"z", "device": "rtc0"},
        {"addr": 0x3F7, "data": b"zz", "size": 2, "device": "rtc0", "reason": "mmio", **SPLIT},
        {"addr": 0x3F7, "data": b"zz", "size": 2, "direction": "read", "device": "debug-port0", **SPLIT},
    )
    assert (trace.console(), trace.console("serial0"), trace.console("debug-port0")) == (
        b"1A2B3C4D5",
        b"ABCD",
        b"12345",
    )


def test_a_split_access_may_turn_the_data_register_into_the_divisor_latch(tmp_path):
    over = {"addr": 0x3F7, "data": b"1\x00\x00\x00\x83\x00\x00\x00", "size": 8, "device": "debug-port0", **SPLIT}
    trace = two(tmp_path, *out(b"A"), over, *out(b"z"))
    assert trace.console("serial0") == b"A\x00"


def test_a_split_access_of_another_machine_is_no_text(tmp_path):
    first = two(tmp_path, *out(b"A"))
    first.path.rename(tmp_path / "first.arrow")
    second = two(tmp_path, {"addr": 0x3F7, "data": b"1B", "size": 2, "device": "debug-port0", **SPLIT})
    merge([tracer.load(tmp_path / "first.arrow"), second], tmp_path / "merged.arrow")
    trace = tracer.load(tmp_path / "merged.arrow")
    assert (trace.console("first/serial0"), trace.console("two/serial0"), trace.console()) == (b"A", b"B", b"A")
    assert trace.console("two/debug-port0") == b"1"


VIRTIO = """[[device]]
kind = "serial"
[[device]]
kind = "virtio-console"
[[device.ports]]
name = "log"
[[device.ports]]
name = "both"
output = "stdout"
"""


@pytest.fixture
def sent(tmp_path, monkeypatch):
    """A trace with exits and outputs, each at its time; it is read in batches of two rows."""

    def make(exits, outputs):
        names = ["serial0", "virtio-console0"]
        path = tmp_path / "virtio.arrow"
        made = [exit_(at, **{"data": b"x"} | fields) for at, fields in exits]
        record_all(path, [made], metadata={keys.SPEC: VIRTIO}, devices=names)
        rows = [{"t": at, "device": names[1], "port": port, "data": data} for at, port, data in outputs]
        said = {keys.CLOCK: METADATA[keys.CLOCK], keys.DEVICES: json.dumps(names)}
        write_table(path, OUTPUTS, rows, {"complete": True, "rows": len(rows)}, said)
        return tracer.load(path)

    whole = tracer.Trace.batches
    monkeypatch.setattr(
        tracer.Trace,
        "batches",
        lambda trace, columns: (
            batch.slice(at, 2) for batch in whole(trace, columns) for at in range(0, batch.num_rows, 2)
        ),
    )
    return make


KICK = {"addr": 0xD0000050, "reason": "mmio", "device": "debug-port0"}  # the second device
READ = {"addr": 0xD0000060, "reason": "mmio", "device": "debug-port0", "direction": "read"}


def test_outputs_are_among_the_exits_by_their_times(sent):
    """Their row is the notification: the device's last write before."""
    exits = [(10, {"data": b"a"}), (20, KICK), (30, {"data": b"b"}), (40, READ), (50, KICK), (60, {"data": b"\n"})]
    trace = sent(exits, [(5, 0, b"<"), (25, 0, b"1\n2"), (55, 0, b"3\n4"), (70, 0, b"5\n6")])
    console = Console(trace, trace.devices)
    assert console.devices == ("serial0", "virtio-console0", "virtio-console0.both")
    assert console.text == b"<a1\n2b3\n4\n5\n6"
    assert console.lines() == [
        Line(5, 5, 0, "<a1"),
        Line(25, 20, 1, "2b3"),
        Line(55, 30, 4, "4"),
        Line(70, 15, 5, "5"),
        Line(70, 0, 5, "6"),
    ]


def test_each_port_of_a_virtio_console_has_its_text(sent):
    trace = sent([(10, KICK), (20, {"data": b"s"})], [(11, 0, b"c"), (12, 1, b"l"), (13, 2, b"b"), (14, 1, b"m")])
    names = ("serial0", "virtio-console0", "virtio-console0.log", "virtio-console0.both")
    assert [trace.console(name) for name in names] == [b"s", b"c", b"lm", b"b"]
    assert trace.console() == b"cbs"


def test_outputs_of_a_trace_without_exits(sent):
    trace = sent([], [(11, 0, b"c\n"), (12, 0, b"d")])
    assert Console(trace, trace.devices).lines() == [Line(11, 11, 0, "c"), Line(12, 1, 0, "d")]
