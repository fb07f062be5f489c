"""The vmrun command in this process: options, messages, statuses."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

import tracer
from runner.cli import VERBS, main
from runner.kvm.system import System
from vmspec.cli import main as vmspec_main

pytestmark = pytest.mark.kvm


HLT = "f4"
SPIN = "eb fe"
PRINT_A = "b0 41 e6 e9"  # mov al, 'A'; out 0xe9, al
DEBUG = {"kind": "debug-port"}


@pytest.fixture
def vmrun(capfd):
    """Runs the command here; returns (status, standard output, standard error)."""

    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        return status, *capfd.readouterr()

    return run


def test_the_console_goes_to_standard_output(vmrun, write_spec):
    status, out, _ = vmrun(write_spec(f"{PRINT_A} {HLT}", devices=[DEBUG]))
    assert (status, out) == (0, "A")


@pytest.mark.parametrize("verb", [[], ["test"]])
def test_signals_are_the_callers_again(vmrun, write_spec, tmp_path, verb):
    def caught():
        (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("SigCgt")]
        return int(line.split()[1], 16) & ~(1 << signal.SIGBUS - 1)  # guards guest memory from the first run on

    def mine(number, frame):
        raise AssertionError

    known = caught(), signal.signal(signal.SIGINT, mine)
    try:
        assert vmrun(*verb, write_spec(HLT), *(["-o", tmp_path / "kept"] if verb else []))[0] == 0
        assert (caught(), signal.getsignal(signal.SIGINT)) == (known[0], mine)
    finally:
        signal.signal(signal.SIGINT, known[1])


def test_the_closing_line(vmrun, write_spec, tmp_path):
    _, _, error = vmrun(write_spec(f"{PRINT_A} {HLT}", devices=[DEBUG]))
    assert error.startswith("vmrun: halt after 0.")
    assert error.endswith(f"2 exits, recorded in {tmp_path / 'guest.arrow'}\n")


def test_the_closing_line_of_a_run_that_is_not_recorded(vmrun, write_spec, tmp_path):
    _, _, error = vmrun(write_spec(HLT, trace=None))
    assert error.endswith("1 exit, not recorded (to record: --trace FILE, or trace.path in the spec)\n")
    assert vmrun(write_spec(HLT), "--no-trace")[2].endswith("1 exit, not recorded\n")
    assert [path.name for path in tmp_path.iterdir()] == ["guest.toml"]


@pytest.mark.parametrize(
    ("name", "what"), [("-", "is not a file"), ("", "is empty"), ("new/", "is a directory"), ("/", "is a directory")]
)
def test_what_names_no_file_is_not_recorded_into(vmrun, write_spec, tmp_path, monkeypatch, capfd, name, what):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        vmrun(write_spec(HLT), "--trace", name)
    assert (ended.value.code, f"{name!r} {what}: give a file" in capfd.readouterr().err) == (
        2,
        True,
    )
    assert [path.name for path in tmp_path.iterdir()] == ["guest.toml"]


def test_a_directory_is_not_made_for_a_trace(vmrun, write_spec, tmp_path):
    status, _, error = vmrun(write_spec(HLT), "--trace", tmp_path / "new" / "boot.arrow")
    assert (status, f"there is no directory {tmp_path}/new; make it, or choose another place" in error) == (6, True)
    assert not (tmp_path / "new").exists()


def test_a_name_that_is_too_long_for_a_trace(vmrun, write_spec, tmp_path):
    status, _, error = vmrun(write_spec(HLT), "--trace", tmp_path / ("n" * 300))
    assert (status, "cannot record into" in error, "too long" in error) == (6, True, True)


def test_a_directory_gives_no_input(vmrun, write_spec, tmp_path):
    status, _, error = vmrun(write_spec(HLT, devices=[{"kind": "serial", "input": "."}]))
    assert (status, f"device[0].input: cannot open {tmp_path}: Is a directory" in error) == (2, True)


def test_json_stands_alone_on_standard_output(vmrun, write_spec, tmp_path):
    status, out, error = vmrun("--json", write_spec(f"{PRINT_A} {HLT}", devices=[DEBUG]))
    result = json.loads(out)
    found = [result[name] for name in ("kind", "status", "console", "trace", "counters")]
    assert found == ["halt", 0, "A", str(tmp_path / "guest.arrow"), {"io": 1, "hlt": 1, "dropped": 0}]
    assert (status, error) == (0, "A")


def test_json_of_a_crash(vmrun, write_spec):
    status, out, _ = vmrun("--json", write_spec("0f 0b", boot={"mode": "protected"}))
    assert (status, json.loads(out)["kind"], "rip" in json.loads(out)["report"]) == (4, "triple-fault", True)


def test_set(vmrun, write_spec):
    spec = write_spec(f"e6 e9 {HLT}", devices=[DEBUG])
    assert vmrun(spec, "--set", "boot.registers.rax=0x42", "--set", "vm.vcpus=2")[:2] == (0, "BB")


def test_a_former_name_is_said_and_taken(vmrun, write_spec):
    status, _, said = vmrun(write_spec("f4"), "--no-trace", "--set", "trace.kernel=false")
    assert (status, said.splitlines()[0]) == (
        0, "vmrun: --set trace.kernel=false: trace.kernel: is now called tracepoints"
    )  # fmt: skip


def test_overrides_stand_in_the_trace(vmrun, write_spec, tmp_path):
    vmrun(write_spec(HLT), "--set", "vm.memory=2MiB", "--timeout", "9s")
    overrides = json.loads(tracer.load(tmp_path / "guest.arrow").metadata["vmrun.overrides"])
    assert overrides == ["vm.memory=2MiB", "vm.timeout=9s"]


def test_what_is_no_file_is_not_recorded_into(vmrun, write_spec, tmp_path):
    os.mkfifo(tmp_path / "pipe")  # as /dev/null is none
    status, _, error = vmrun(write_spec(HLT), "--trace", tmp_path / "pipe")
    assert (status, "it is not a file (--no-trace records nothing)" in error) == (6, True)
    assert (tmp_path / "pipe").is_fifo()


def test_trace_elsewhere(vmrun, write_spec, tmp_path):
    vmrun(write_spec(HLT), "--trace", tmp_path / "other.arrow")
    assert {path.name for path in tmp_path.iterdir()} == {"guest.toml", "other.arrow"}


def test_trace_of_a_spec_without_one(vmrun, write_spec, tmp_path):
    vmrun(write_spec(HLT, trace=None), "--trace", tmp_path / "other.arrow")
    assert (tmp_path / "other.arrow").exists()


def test_a_relative_trace_is_relative_to_the_caller(vmrun, write_spec, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    vmrun(write_spec(HLT), "--trace", "here.arrow")
    assert (tmp_path / "elsewhere" / "here.arrow").exists()


def test_no_trace(vmrun, write_spec, tmp_path):
    vmrun(write_spec(HLT), "--no-trace")
    assert not (tmp_path / "guest.arrow").exists()


def test_timeout(vmrun, write_spec):
    status, _, error = vmrun(write_spec(SPIN), "--timeout", "200ms")
    assert (status, "the guest did not end within 0.2 s" in error) == (5, True)


def test_an_unmet_expectation(vmrun, write_spec, tmp_path):
    status, _, error = vmrun(write_spec(HLT, devices=[DEBUG], expect={"console": ["login:"], "exit": ["reset"]}))
    assert status == 1
    trace = tmp_path / "guest.arrow"
    assert (
        "vmrun: expectation failed: expect.console[0]: expected 'login:' on the console; the console printed nothing\n"
        f"vmrun: to see it: vmtrace console {trace}\n"
        "vmrun: expectation failed: expect.exit: expected the end reset; the guest ended with halt\n"
        f"vmrun: to see it: vmtrace events --last 10 {trace}\n"
    ) in error


def test_test_cases_are_counted(vmrun, write_spec, assemble):
    text = b"TAP version 13\n1..2\nok 1 a\nok 2 b # SKIP\n"
    code = f"mov $text, %si\n mov ${len(text)}, %cx\n mov $0xe9, %dx\n cld\n rep outsb\n hlt\n text:"
    spec = write_spec(assemble(code) + text, devices=[DEBUG], expect={"tap": True}, trace=None)
    status, _, error = vmrun(spec)
    assert (status, "vmrun: 2 test cases: 1 passed, 1 skipped\n" in error) == (0, True)
    cases = json.loads(vmrun(spec, "--json")[1])["cases"]
    assert [(case["name"], case["outcome"]) for case in cases] == [("a", "passed"), ("b", "skipped")]


def test_debug_exit(vmrun, write_spec):
    status, _, error = vmrun(write_spec(f"b0 10 e6 f4 {SPIN}", devices=[{"kind": "debug-exit"}]))
    assert (status, "vmrun: the guest chose status 33\n" in error) == (33, True)


def test_a_crash(vmrun, write_spec, tmp_path):
    status, _, error = vmrun(write_spec("0f 0b", boot={"mode": "protected"}))
    report = (tmp_path / "guest.crash.txt").read_text()
    assert (status, "".join(f"vmrun: {line}\n" for line in report.splitlines()) in error) == (4, True)
    assert f"this report is in {tmp_path / 'guest.crash.txt'}" in error


def test_a_device_that_raises(vmrun, write_spec):
    device = "from runner.devices import Device\n\nclass Bad(Device):\n    def write(self, *_):\n        1 / 0\n"
    spec = write_spec(
        f"e6 80 {SPIN}", devices=[{"kind": "python", "class": "bad:Bad", "port": [0x80, 1]}], files={"bad.py": device}
    )
    status, _, error = vmrun(spec)
    place = f"({spec.parent}/bad.py:5)"
    assert (status, f"vmrun: device python0 raised ZeroDivisionError: division by zero {place}\n" in error) == (2, True)


def test_a_wrong_spec(vmrun, tmp_path):
    (tmp_path / "guest.toml").write_text("[vm]\nname = 'x'\nmemry = '1MiB'\n")
    status, _, error = vmrun(tmp_path / "guest.toml")
    assert (status, f"vmrun: {tmp_path}/guest.toml:3:1: vm.memry" in error) == (2, True)


def test_a_missing_spec(vmrun, tmp_path):
    status, _, error = vmrun(tmp_path / "none.toml")
    assert (status, "none.toml" in error) == (2, True)


def test_a_wrong_override(vmrun, write_spec):
    status, _, error = vmrun(write_spec(HLT), "--set", "vm.memory=lots")
    assert (status, "vm.memory" in error) == (2, True)


@pytest.mark.parametrize("arguments", [["./test"], ["--", "test"], ["--no-trace", "test"]])
def test_a_spec_with_the_name_of_a_verb(vmrun, write_spec, monkeypatch, arguments):
    spec = write_spec(HLT, trace=None)
    spec.rename(spec.with_name("test"))
    monkeypatch.chdir(spec.parent)
    assert vmrun(*arguments)[:2] == (0, "")


def test_the_help_names_the_verbs(capfd):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capfd.readouterr().out
    assert [verb for verb in VERBS if not re.search(rf"^  {verb} +\w", out, re.MULTILINE)] == []


def test_an_unknown_option(write_spec, capfd):
    with pytest.raises(SystemExit) as ended:
        main(["--colour", str(write_spec(HLT))])
    assert (ended.value.code, "--colour" in capfd.readouterr().err) == (2, True)


def test_a_missing_input(vmrun, write_spec):
    status, _, error = vmrun(write_spec(HLT, devices=[{"kind": "serial", "input": "missing"}]))
    assert (status, error.count("\n")) == (2, 1)


def test_a_missing_capability(vmrun, write_spec, monkeypatch):
    monkeypatch.setattr(System, "check_extension", lambda system, name: 0)
    status, _, error = vmrun(write_spec(HLT))
    assert (status, error) == (
        3,
        "vmrun: this host's KVM lacks KVM_CAP_USER_MEMORY, which KVM_SET_USER_MEMORY_REGION needs\n",
    )


def test_a_call_that_the_host_refuses(vmrun, write_spec, monkeypatch):
    from runner.kvm.errors import KvmError
    from runner.kvm.vm import VM

    def refuse(vm, index, size):
        raise KvmError(22, "KVM_CREATE_VCPU")

    monkeypatch.setattr(VM, "create_vcpu", refuse)
    status, _, error = vmrun(write_spec(HLT))
    assert (status, error.startswith("vmrun: KVM_CREATE_VCPU failed: Invalid argument (step ")) == (3, True)


def test_a_new_flat_guest_runs_as_it_is(vmrun, tmp_path, capfd):
    assert vmspec_main(["new", "flat"]) == 0
    (tmp_path / "flat.toml").write_text(capfd.readouterr().out)
    status, out, _ = vmrun(tmp_path / "flat.toml")
    assert (status, out) == (0, "!\n")
