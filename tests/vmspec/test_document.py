import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

import vmspec
from vmspec.document import LARGEST, Document
from vmspec.schema.problems import Problem, SpecError, SpecWarning
from vmspec.trace.events import EVENTS, NEEDED, chosen
from vmspec.trace.record import COMPARED

GOOD = """\
[vm]
name = "x"

[boot]
code = "f4"
mode = "real"
"""


def loads(text, *overrides):
    return vmspec.loads(text, "/specs", overrides, Path("x.toml"))


def problems(text, *overrides) -> list[str]:
    with pytest.raises(SpecError) as caught:
        loads(text, *overrides)
    return [str(problem) for problem in caught.value.problems]


def with_key(table: str, line: str) -> str:
    """The good spec with a line more in a table."""
    return (
        GOOD.replace(f"[{table}]\n", f"[{table}]\n{line}\n") if f"[{table}]" in GOOD else f"{GOOD}[{table}]\n{line}\n"
    )


def with_device(lines: str) -> str:
    return f"{GOOD}[[device]]\n{lines}\n"


@pytest.mark.parametrize(
    ("line", "memory"), [("memory = '1.5GiB'", 3 << 29), ("memory = 1048576", 1 << 20), ("", 128 << 20)]
)
def test_memory(line, memory):
    assert loads(with_key("vm", line)).vm.memory == memory


@pytest.mark.parametrize(("value", "timeout"), [("'2min'", 120 * 10**9), ("3", 3 * 10**9), ("0.5", 5 * 10**8)])
def test_timeout(value, timeout):
    assert loads(with_key("vm", f"timeout = {value}")).vm.timeout == timeout


@pytest.mark.parametrize("value", ["0x1000", "4096", "'0x1000'"])
def test_address(value):
    assert loads(with_key("boot", f"load = {value}")).boot.load == 0x1000


def test_code_has_spaces_lines_and_comments():
    text = GOOD.replace('"f4"', "'''\n  ba f803 ; mov $0x3f8, %dx\nEE # out\n\n'''")
    assert loads(text).boot.code == bytes.fromhex("baf803ee")


def test_registers_reach_64_bits():
    assert loads(with_key("boot", "registers = {rax = '0xffffffffffffffff', r8 = 1}")).boot.registers == {
        "rax": (1 << 64) - 1,
        "r8": 1,
    }


def test_a_relative_path_is_relative_to_the_spec():
    assert loads(with_key("boot", "symbols = '../map'")).boot.symbols == Path("/specs/../map")


def test_a_stream_is_a_word_or_a_path():
    serial = loads(with_device("kind = 'serial'\ninput = 'none'\noutput = './stdout'")).devices[0]
    assert (serial.input, serial.output) == ("none", Path("/specs/stdout"))


@pytest.mark.parametrize("value", ["'reset'", "['reset']"])
def test_one_value_is_an_array_of_one(value):
    assert loads(with_key("expect", f"exit = {value}")).expect.exit == ("reset",)


@pytest.mark.parametrize("value", ["2024-01-31T12:00:00", "2024-01-31T12:00:00Z", "2024-01-31T13:00:00+01:00"])
def test_a_time_is_utc(value):
    assert loads(with_device(f"kind = 'rtc'\ntime = {value}")).devices[0].time == datetime(2024, 1, 31, 12, tzinfo=UTC)


def test_a_good_spec_knows_its_file(tmp_path):
    (tmp_path / "x.toml").write_text(GOOD)
    assert vmspec.load(tmp_path / "x.toml").path == tmp_path / "x.toml"


def test_a_key_by_its_former_name():
    with pytest.warns(SpecWarning) as said:
        spec = loads(GOOD + "[trace]\nkernel = 'required'")
    assert (spec.trace.tracepoints, [str(one.message) for one in said]) == (
        "required", ["x.toml:8:1: trace.kernel: is now called tracepoints"]
    )  # fmt: skip
    with pytest.warns(SpecWarning, match=r"--set trace\.kernel=true: trace\.kernel: is now called tracepoints"):
        assert loads(GOOD, "trace.kernel=true").trace.tracepoints is True
    both = "x.toml:8:1: trace.kernel: is the former name of tracepoints, which is given too"
    assert problems(GOOD + "[trace]\nkernel = true\ntracepoints = true") == [both]
    assert problems(GOOD + "[trace]\nkernel = 7") == [
        "x.toml:8:10: trace.kernel: is not one of the choices (here: 7); allowed: false, true, required"
    ]


@pytest.mark.parametrize(
    ("named", "recorded"),
    [
        ('["kvm_pio", "kvm_exit"]', ("kvm_entry", "kvm_exit", "kvm_userspace_exit", "kvm_pio")),
        ('"kvm_exit"', NEEDED),
        ("[]", tuple(EVENTS)),
    ],
)
def test_the_tracepoints_of_a_trace(named, recorded):
    assert chosen(loads(GOOD, f"trace.events={named}").trace.events) == recorded


def test_a_tracepoint_that_vmrun_does_not_know():
    said = problems(GOOD + '[trace]\nevents = ["kvm_msr", "kvm_exits"]')
    assert ["8:22: trace.events[1]" in said[0], "kvm_exit" in said[0]] == [True, True], said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (with_key("vm", "memroy = 1"), "x.toml:2:1: vm.memroy: unknown key; allowed: name, memory, vcpus, timeout"),
        (with_key("vm", "memroy = 1"), "did you mean memory?"),
        ("ram = 1\n" + GOOD, "x.toml:1:1: ram: unknown key; allowed: vm, boot, memory, cpu, device, trace, expect"),
        (with_key("vm", "memory = '512MB'"), "x.toml:2:10: vm.memory: sizes are in powers of 1024: write 512MiB"),
        (with_key("vm", "memory = 1048577"), "x.toml:2:10: vm.memory: is not a multiple of 4KiB (here: 1048577)"),
        (
            with_key("vm", "memory = 4096"),
            'out of range (here: 4096); allowed: a size such as "512MiB", from 1MiB to 1TiB',
        ),
        (with_key("vm", "memory = 1048576.0"), "must be a whole number or a string (here: 1048576.0)"),
        (with_key("vm", "vcpus = true"), "x.toml:2:9: vm.vcpus: must be a whole number (here: true)"),
        (with_key("vm", "vcpus = 0"), "is out of range (here: 0); allowed: a whole number from 1 to"),
        (with_key("vm", "timeout = 0"), "vm.timeout: is out of range (here: 0)"),
        (with_key("vm", "timeout = 1e308"), "vm.timeout: is out of range (here: 1e+308)"),
        (with_key("vm", "timeout = nan"), "vm.timeout: is out of range (here: nan)"),
        (with_key("vm", "irqchip = 'kernle'"), "allowed: auto, kernel, none; did you mean kernel?"),
        (with_key("vm", "pit = 1"), "vm.pit: must be a boolean (here: 1)"),
        (
            with_key("vm", "pit = true\nirqchip = 'none'"),
            "x.toml:2:1: vm.pit: the timer needs the interrupt controllers",
        ),
        (GOOD.replace('"x"', '"a\\nb"'), 'vm.name: holds control characters (here: "a\\u000ab")'),
        (GOOD.replace('"x"', '""'), "vm.name: must not be empty"),
        (GOOD.replace('name = "x"', ""), "x.toml:1:2: vm.name: is missing; allowed: a line of text"),
        (GOOD.replace("[vm]", "[[vm]]"), "x.toml:1:3: vm: must be a table (here: an array); allowed: [vm]"),
        ("", "x.toml:1:1: vm: is missing"),
        (GOOD.replace('code = "f4"', ""), "x.toml:4:2: boot: one key is missing: kernel or code or firmware"),
        (with_key("boot", "firmware = 'k'"), "x.toml:5:1: boot.firmware: cannot be combined with code"),
        (with_key("boot", "kernel = 'k'"), "x.toml:6:1: boot.code: cannot be combined with kernel"),
        (with_key("boot", "kernel = ''"), "boot.kernel: must not be empty"),
        (
            with_key("boot", "kernel = '-'"),
            'boot.kernel: is not the name of a file; for a file of that name, write "./-"',
        ),
        (with_key("boot", "kernel = 'images/'"), "boot.kernel: names a directory, not a file"),
        (with_device("kind = 'serial'\noutput = 'Stderr'"), "device[0].output: is not the name of a file"),
        (GOOD + "[trace]\npath = 'none'", "x.toml:8:8: trace.path: is not the name of a file"),
        (with_key("boot", 'kernel = "a\\u0000"'), "boot.kernel: holds a NUL character"),
        (with_key("boot", "load = -1"), "boot.load: is out of range (here: -1)"),
        (
            with_key("boot", "registers = {eax = 1}"),
            "x.toml:5:14: boot.registers.eax: unknown register; allowed: rax, rbx",
        ),
        (with_key("boot", "registers = {rip = 1}"), "the first instruction is given by boot.entry"),
        (with_key("boot", "registers = {rax = '0x1ffffffffffffffff'}"), "x.toml:5:20: boot.registers.rax: must be hex"),
        (GOOD.replace('"f4"', '"f4\\nf"'), 'line 2 of the code is not hexadecimal (here: "f")'),
        (GOOD.replace('"f4"', '"# f4"'), "boot.code: must not be empty"),
        (
            GOOD + "[device]\nkind = 'serial'",
            "x.toml:7:2: device: must be an array of tables (here: a table); allowed: [[device]]",
        ),
        (GOOD.replace("[vm]", "device = [1]\n[vm]"), "x.toml:1:11: device[0]: must be a table (here: 1)"),
        (
            with_device("kind = 'seriel'"),
            'x.toml:8:8: device[0].kind: unknown kind (here: "seriel"); allowed: serial, i8042',
        ),
        (with_device("kind = 'seriel'"), "did you mean serial?"),
        (with_device("com = 1"), "x.toml:7:3: device[0].kind: is missing; allowed: serial,"),
        (
            with_device("kind = 'serial'\nport = 1"),
            "x.toml:9:1: device[0].port: unknown key; allowed: kind, com, input",
        ),
        (
            with_device("kind = 'virtio-console'\nports = [{ name = 'a' }, { name = 'a' }]"),
            'device[0].ports[1].name: is taken already (here: "a")',
        ),
        (
            with_device("kind = 'virtio-rng'\nnotify = 'ioeventfd'"),
            "x.toml:9:1: device[0].notify: unknown key: only devices whose queues C or another process serves have",
        ),
        (
            with_device("kind = 'serial'\ncom = 1.0"),
            "device[0].com: is not one of the choices (here: 1.0); allowed: 1, 2",
        ),
        (with_device("kind = 'rtc'\ntime = '2024-01-31T12:00:00'"), 'must be a date and time (here: "2024'),
        (with_device("kind = 'rtc'\ntime = 9999-12-31T23:59:59-10:00"), "device[0].time: is out of range"),
        (with_device("kind = 'debug-exit'\nport = 0xffff"), "x.toml:9:1: device[0].port: the last of 4 ports is past"),
        (with_device("kind = 'python'\nclass = 'm'\nport = [1, 1]"), "device[0].class: does not name a class"),
        (with_device("kind = 'virtio-vsock'\npath = 'v'\ncid = 2"), "device[0].cid: is out of range (here: 2)"),
        (
            with_device(f"kind = 'virtio-vsock'\npath = '{76 * 's'}'"),
            "device[0].path: the name of a socket has at most 75",
        ),
        (
            with_device("kind = 'virtio-vsock'\npath = 'v'\n[[device]]\nkind = 'virtio-vsock'\npath = 'v'"),
            "device[1].path: v is device[0].path too",
        ),
        (with_device("kind = 'python'\nclass = 'm:C'"), "device[0]: one key is missing: port, mmio or regions"),
        (with_device("kind = 'python'\nclass = 'm:C'\nport = [1]"), "must be an array of two numbers"),
        (
            with_device("kind = 'python'\nclass = 'm:C'\nport = [0xfff0, 0]"),
            "x.toml:10:17: device[0].port[1]: is out of range",
        ),
        (with_device("kind = 'python'\nclass = 'm:C'\nport = [0xfff0, 17]"), "device[0].port: ends out of range"),
        (
            with_device("kind = 'python'\nclass = 'm:C'\nport = [1, 1]\noptions = {a-b = 1}"),
            "device[0].options.a-b: is not a",
        ),
        (
            with_device("kind = 'python'\nclass = 'm:C'\nport = [1, 1]\noptions.a = " + "[" * 20 + "]" * 20),
            "x.toml:11:28: device[0].options.a[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]: is nested too deep",
        ),
        (
            with_device("kind = 'serial'") + "[[device]]\nkind = 'serial'",
            "device[1].input: stdin is read by device[0] already",
        ),
        (
            with_device("kind = 'python'\nclass = 'm:C'\nport = [1, 1]\noptions.a = [0x8000000000000000]"),
            "x.toml:11:14: device[0].options.a[0]: is out of TOML's range (here: 9223372036854775808)",
        ),
        (
            with_key("boot", "symbols = 'map'") + "[trace]\npath = 'map'",
            "x.toml:9:1: trace.path: map is boot.symbols too, and would be overwritten",
        ),
        (
            with_device("kind = 'serial'\noutput = 'x.ring'") + "[trace]\npath = 'a/../x.arrow'",
            "x.toml:11:1: trace.path: x.ring is device[0].output too",
        ),
        (
            with_device("kind = 'debug-port'\noutput = 'log'") + "[[device]]\nkind = 'serial'\noutput = './log'",
            "x.toml:12:1: device[1].output: log is device[0].output too",
        ),
        (GOOD + "[trace]\npath = 'x.csv'", "x.toml:8:1: trace.path: a trace is always an Arrow file"),
        (with_key("trace", "ring = 1000"), "trace.ring: must be a power of two (here: 1000)"),
        (with_key("expect", "exit = ['reset', 'poweof']"), "x.toml:8:18: expect.exit[1]: is not one of the choices"),
        (with_key("expect", "exit = 'reset'\nstatus = 3"), "expect.status: only debug-exit has a status"),
        (with_key("expect", "patterns = ['ok', '(a']"), "x.toml:8:19: expect.patterns[1]: is not a regular expression"),
        (with_key("expect", "forbidden = ''"), "expect.forbidden: must not be empty"),
        (with_key("expect", f"forbidden = '{'x' * 1001}'"), "expect.forbidden: is too long"),
        (with_key("expect", "ports = {a = 'x', b = 1}"), "expect.ports.b: must be a string or a table"),
        (with_key("expect", "ports.a.b = [1, 2000-01-01]"), "expect.ports.a.b[1]: is not a value of JSON"),
        (with_key("expect", 'ports.a = "x\\ny"'), "expect.ports.a: must be one line"),
        (with_key("expect", f"ports.a.b = {'[' * 17}{']' * 17}"), "is nested too deep"),
        (with_key("expect", "allow = [0x80]"), 'expect.allow: needs unclaimed = "none"'),
        (with_key("expect", "unclaimed = 'none'\nallow = [[1, 0]]"), "expect.allow[0][1]: is out of range"),
        (with_key("expect", "exits.reason = {oi = 1}"), "expect.exits.reason.oi: is not one of the names"),
        (with_key("expect", "exits.all = -1"), "expect.exits.all: is out of range"),
        (with_key("expect", "time.line = {'' = 1}"), "is not one of the names; allowed: a name"),
        (with_key("expect", "time.guest = 0"), "expect.time.guest: is out of range"),
        (with_key("expect", "differ = 'rip'"), "expect.differ: needs a reference"),
        (
            with_key("expect", "reference = 'a'\ndiffer = " + str([*COMPARED])),
            "expect.differ: leaves nothing to compare",
        ),
        (
            with_key("expect", "reference = 'a.arrow'") + "[trace]\npath = './a.arrow'",
            "trace.path: a.arrow is expect.reference too, and would be overwritten",
        ),
        (with_key("expect", "ktap = true\ntap = true"), "expect.tap: cannot be combined with ktap"),
        ("[vm]\nname = \n", "x.toml:2:8: is not TOML: Invalid value"),
        ("a = [", "x.toml:1:6: is not TOML:"),
        ("a = " + "[" * 10000, "x.toml:1:1: is nested too deep"),
        ("a = " + "1" * 5000, "x.toml:1:1: holds a number of more than 4,000 digits"),
        ("[vm]\nname = 0x" + "f" * 5000 + GOOD[15:], "vm.name: must be a string (here: 0xfff"),
    ],
)
def test_a_fault_is_said_where_it_stands(text, said):
    assert any(said in problem for problem in problems(text)), problems(text)


def test_all_faults_are_said_in_the_order_of_the_text():
    text = "[boot]\ncode = 'x'\nmod = 'real'\n[vm]\nvcpus = 0\nmemory = 0\n[[device]]\nkind = 'none'\n"
    places = [problem.split()[0] for problem in problems(text)]
    assert places == ["x.toml:2:8:", "x.toml:3:1:", "x.toml:4:2:", "x.toml:5:9:", "x.toml:6:10:", "x.toml:8:8:"]


@pytest.mark.parametrize(
    ("override", "get", "value"),
    [
        ("vm.memory=1GiB", lambda spec: spec.vm.memory, 1 << 30),
        ("vm.memory = 1GiB ", lambda spec: spec.vm.memory, 1 << 30),
        ("expect.console= login", lambda spec: spec.expect.console, (" login",)),
        ("vm.vcpus=2", lambda spec: spec.vm.vcpus, 2),
        ("vm.name=a=b", lambda spec: spec.vm.name, "a=b"),
        ("vm.name='7'", lambda spec: spec.vm.name, "7"),
        ("vm={name='y'}", lambda spec: spec.vm.name, "y"),
        ("device[0].com=2", lambda spec: spec.devices[0].com, 2),
        ("boot.registers.rax=0x10", lambda spec: spec.boot.registers, {"rax": 16}),
        ("expect.console=['a', 'b']", lambda spec: spec.expect.console, ("a", "b")),
        ("expect.console=1\nx=2", lambda spec: spec.expect.console, ("1\nx=2",)),
    ],
)
def test_an_override_changes_the_spec(override, get, value):
    spec = loads(with_device("kind = 'serial'"), override)
    assert (get(spec), spec.overrides) == (value, (override,))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("vm.memroy=1", "--set vm.memroy=1: vm.memroy: unknown key; allowed: name, memory"),
        ("vm.vcpus=x", '--set vm.vcpus=x: vm.vcpus: must be a whole number (here: "x")'),
        ("new.table.key=1", "--set new.table.key=1: new: unknown key"),
        ("vm={}", "--set vm={}: vm.name: is missing"),
        ("device[1].com=2", "--set device[1].com=2: device[1].com: there are 1 of these, numbered from 0"),
        ("device.com=2", "--set device.com=2: device.com: is within an array: say which element, as in device[0].com"),
        ("vm[0]=2", "--set vm[0]=2: vm[0]: vm is not an array"),
        ("vm.name.x=2", "--set vm.name.x=2: vm.name.x: vm.name is not a table"),
        ("cpu.disable[0]=2", "--set cpu.disable[0]=2: cpu.disable[0]: cannot make an array; set it whole"),
        ("vm.name", "--set vm.name: write KEY=VALUE (here: vm.name)"),
        ("=1", "--set =1: write KEY=VALUE"),
        ("vm..name=1", "--set vm..name=1: 'vm..name' is not a key"),
    ],
)
def test_a_wrong_override_is_said_with_its_number(override, said):
    assert [problem[: len(said)] for problem in problems(with_device("kind = 'serial'"), "vm.vcpus=1", override)] == [
        said
    ]


def test_an_override_can_mend_what_is_wrong_in_the_file():
    assert loads(with_key("vm", "vcpus = 0"), "vm.vcpus=1").vm.vcpus == 1


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(SpecError, match=r"no\.toml: cannot be read: No such file or directory"):
        Document.open(tmp_path / "no.toml")


def test_a_directory(tmp_path):
    with pytest.raises(SpecError, match="cannot be read: Is a directory"):
        Document.open(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # root may read any file
    with pytest.raises(SpecError, match="cannot be read: Permission denied"):
        Document.open(tmp_path / "x.toml")


def test_a_name_that_no_file_can_have():
    with pytest.raises(SpecError, match=r"cannot be read: .*embedded null"):
        Document.open("a\0b")


def test_a_byte_order_mark_is_skipped_and_places_stay(tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert Document.open(path).spec() == loads(GOOD)
    path.write_bytes(b"\xef\xbb\xbf" + b"[vm]\nname = 'x'\nmemory = 'a'\n[boot]\ncode = 'f4'\n")
    with pytest.raises(SpecError, match=r"x\.toml:3:10: vm\.memory"):
        Document.open(path).spec()
    path.write_bytes(b"\xef\xbb\xbf" + b"[vm] name\n")
    with pytest.raises(SpecError, match=r"x\.toml:1:6: is not TOML"):
        Document.open(path)
    path.write_bytes(b"\xef\xbb\xbf" + b"# \xff\n")
    with pytest.raises(SpecError, match=r"x\.toml:1:3: is not UTF-8"):
        Document.open(path)


def test_a_file_that_is_not_utf8(tmp_path):
    (tmp_path / "x.toml").write_bytes(b"[vm]\nname = '\xc3\xa9\xff'\n")
    with pytest.raises(SpecError, match=r"x\.toml:2:10: is not UTF-8 text \(here: 0xff\)"):
        Document.open(tmp_path / "x.toml")


def test_a_file_that_is_too_large(tmp_path):
    with (tmp_path / "x.toml").open("wb") as file:
        os.truncate(file.fileno(), LARGEST + 1)
    with pytest.raises(SpecError, match="is too large for a spec"):
        Document.open(tmp_path / "x.toml")


def test_a_problem_of_the_plan_is_located(tmp_path):
    (tmp_path / "x.toml").write_text(GOOD.replace('code = "f4"', 'kernel = "no-such-file"'))
    with pytest.raises(SpecError, match=r"x\.toml:5:10: boot\.kernel: .*No such file"):
        Document.open(tmp_path / "x.toml").plan()


def test_a_spec_that_would_be_written_over(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text(GOOD + "[trace]\npath = 'x.toml'\n")
    with pytest.raises(
        SpecError, match=r"x\.toml:8:1: trace\.path: x\.toml is this spec too, and would be overwritten"
    ):
        Document.open(path).spec()


def test_a_problem_without_a_key_of_the_document_stands_at_its_start():
    document = Document(GOOD, Path("/"), (), Path("x.toml"))
    assert str(document.locate(Problem("?!", "is strange"))) == "x.toml:1:1: ?!: is strange"


class TestWhatIsNoPlainFile:
    def test_a_pipe_that_nobody_writes_to(self, tmp_path):
        os.mkfifo(tmp_path / "x.toml")
        with pytest.raises(SpecError, match="it is a pipe without a writer"):
            Document.open(tmp_path / "x.toml")

    def test_a_pipe_as_a_shell_makes(self):
        end, writer = os.pipe()
        os.write(writer, b"[vm]\nname = 'x'\n")

        def rest():
            os.write(writer, b"memory = '1MiB'\n")
            os.close(writer)

        threading.Timer(0.1, rest).start()
        assert Document.open(f"/dev/fd/{end}").data == {"vm": {"name": "x", "memory": "1MiB"}}
        os.close(end)


class TestMoreThanAnybodyReads:
    @pytest.mark.long
    def test_problems(self):
        said = problems("".join(f"k{n} = 1\n" for n in range(80_000)))
        assert len(said) == 101
        assert said[-1] == "x.toml:1:1: has more problems than these 100"

    def test_devices(self):
        (problem,) = problems(GOOD + "[[device]]\nkind = 'serial'\n" * 30_000)
        assert problem.endswith("device: are 30,000; allowed: up to 1,024")


NETWORK = 'kind = "virtio-net"\ntap = "tap0"\n'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('mac = "52:54:00:12:34"', "device[0].mac: is not an Ethernet address"),
        ('mac = "53:54:00:12:34:56"', "device[0].mac: is the address of a group, not of an interface"),
        ('mac = "00:00:00:00:00:00"', "device[0].mac: must not be all zero"),
        ("mac = 5", "device[0].mac: must be a string"),
        ("mtu = 67", "device[0].mtu: is out of range"),
        ("queues = 17", "device[0].queues: is out of range"),
    ],
)
def test_a_network_device_that_cannot_be(line, said):
    [problem] = problems(with_device(NETWORK + line))
    assert said in problem


@pytest.mark.parametrize("name", ["", "a/b", "a b", "x" * 16, ".", "..", "a:1", "a%s", "é" * 8, "a\tb"])
def test_the_name_of_a_tap_that_cannot_be(name):
    [problem] = problems(with_device(NETWORK.replace("tap0", name.replace("\t", "\\t"))))
    assert "device[0].tap: is not the name of an interface" in problem


@pytest.mark.parametrize("name", ["tap0", "vm%d", "x" * 15, "br-1.2"])
def test_the_name_of_a_tap(name):
    assert loads(with_device(NETWORK.replace("tap0", name))).devices[0].tap == name


def test_an_address_is_kept_in_lower_case():
    assert loads(with_device(NETWORK + 'mac = "52:54:00:AB:CD:EF"')).devices[0].mac == "52:54:00:ab:cd:ef"
