"""Control of machines that run: tiny guests, Python's client and the commands."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import runner
import tracer
from runner.cli import main
from runner.control.errors import ControlError
from tests.fakes.processes import children, eventually, gone

pytestmark = pytest.mark.kvm

SPIN = "eb fe"
HLT = "f4"
COUNTER = 0x8000
# Counts at 0x8000, and prints an "A" each 65,536 numbers.
COUNT = """
1:  incl 0x8000
    jnz 1b
"""


@pytest.fixture(autouse=True)
def sockets(tmp_path, monkeypatch):
    """The folder of the sockets, of this test only."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "vmrun"


@pytest.fixture
def started():
    """Starts vmrun with a spec, and waits until it can be controlled."""
    processes = []

    def start(path, *options, name="guest"):
        process = subprocess.Popen(
            [sys.executable, "-c", "import sys; from runner.entry import main; sys.exit(main())", path, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        processes.append(process)
        eventually(lambda: any(status.name == name for status in runner.running()), f"{name} is not listed")
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def command(capsys, *words):
    """The status of a command that runs in this process, and what it prints."""
    status = main([*map(str, words)])
    return status, *capsys.readouterr()


def counter(run):
    return int.from_bytes(run._session.machine.memory.read(COUNTER, 4), "little")


def test_a_machine_is_paused_and_resumed_a_hundred_times(write_spec, assemble):
    with (
        runner.start(write_spec(assemble(COUNT), vm={"timeout": "600s"}), control="guest") as run,
        runner.connect("guest") as control,
    ):
        for _ in range(100):
            control.pause()
            before = counter(run)
            assert control.status().state == "paused"
            assert counter(run) == before
            control.resume()
            eventually(lambda before=before: counter(run) != before, "the guest stands still")
        assert control.status().state == "running"


def test_a_machine_has_a_status(write_spec):
    path = write_spec(SPIN, vm={"memory": "2MiB", "vcpus": 1})
    with runner.start(path, control="guest"), runner.connect("guest") as control:
        status = control.status()
        [listed] = runner.running()
    assert (status.name, status.pid, status.state, status.vcpus, status.memory) == (
        "guest", os.getpid(), "running", 1, 2 << 20,
    )  # fmt: skip
    assert (status.spec, status.trace) == (str(path), str(path.parent / "guest.arrow"))
    assert listed.seconds >= status.seconds > 0
    assert runner.running() == ()


@pytest.mark.parametrize(("verb", "kind", "status"), [("stop", "interrupted", 130), ("reset", "reset", 0)])
def test_a_client_ends_a_run(write_spec, verb, kind, status):
    with runner.start(write_spec(SPIN), control="guest") as run, runner.connect("guest") as control:
        ended = getattr(control, verb)()
        assert (ended.kind, ended.status) == (kind, status)
        result = run.result(60)
        assert (result.kind, result.status) == (kind, status)
        assert f"vmrun {verb}" in result.detail
        assert tracer.load(result.trace).complete


def test_a_paused_machine_is_stopped(write_spec):
    with runner.start(write_spec(SPIN), control="guest"), runner.connect("guest") as control:
        control.pause()
        assert control.stop().kind == "interrupted"


def test_clients_hear_how_a_run_ends(write_spec):
    # It waits for a byte of the serial port, and halts.
    code = "ba fd 03 ec a8 01 74 fb f4"
    ours, theirs = os.pipe()
    path = write_spec(code, devices=[{"kind": "serial", "input": "stdin"}])
    with runner.start(path, input=ours, control="guest"), runner.connect("guest") as control:
        os.write(theirs, b"x")
        assert control.wait(60).kind == "halt"
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize(
    ("verb", "arguments", "kind", "message"),
    [
        ("fly", {}, "verb", r"there is no verb 'fly': the verbs are status, .*pause"),
        ("pause", {"speed": 1}, "argument", "pause has no argument 'speed': it takes timeout"),
        ("resume", {"timeout": 1}, "argument", "it takes none"),
        ("pause", {"timeout": "1"}, "argument", "timeout must be a number"),
        ("pause", {"timeout": True}, "argument", "timeout must be a number"),
        ("pause", {"timeout": 0}, "argument", "more than 0"),
        ("pause", {"timeout": 1e9}, "argument", "at most 3600"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(write_spec, verb, arguments, kind, message):
    with runner.start(write_spec(SPIN), control="guest"), runner.connect("guest") as control:
        with pytest.raises(ControlError, match=message) as caught:
            control.request(verb, arguments)
        assert caught.value.kind == kind
        assert control.status().state == "running"


def test_a_verb_that_breaks_ends_no_run(write_spec, monkeypatch):
    with runner.start(write_spec(SPIN), control="guest") as run, runner.connect("guest") as control:
        monkeypatch.setattr(run._session.machine, "counts", lambda: 1 / 0)
        with pytest.raises(ControlError, match="status failed: ZeroDivisionError"):
            control.status()
        monkeypatch.undo()


def test_a_device_that_does_not_return_is_named(write_spec):
    slow = """
import time
from runner.devices import Device


class Slow(Device):
    def read(self, region, offset, size):
        time.sleep(1)
        return 0
"""
    devices = [{"kind": "python", "class": "slow:Slow", "port": [0x300, 1]}]
    path = write_spec("ba 00 03 ec eb fd", devices=devices, files={"slow.py": slow})
    with runner.start(path, control="guest"), runner.connect("guest") as control:
        time.sleep(0.2)
        with pytest.raises(ControlError, match="does not return") as caught:
            control.pause(0.1)
        assert caught.value.kind == "failed"
        control.pause()
        assert control.status().state == "paused"


# Names


def test_a_name_that_was_asked_for_must_be_free(write_spec, sockets, descriptors):
    path = write_spec(SPIN)
    with runner.start(path, control="guest", record=False):
        eventually(runner.running, "the machine does not answer")  # now it has all its descriptors
        before = descriptors()
        with pytest.raises(runner.HostError, match="'guest' is in use by process"):
            runner.start(path, control="guest", record=False)
        eventually(lambda: descriptors() <= before, "descriptors are left")
    with runner.start(path, control="guest", record=False):
        pass
    assert list(sockets.iterdir()) == []


def test_machines_that_were_given_no_name_share_none(write_spec):
    path = write_spec(SPIN)
    with (
        runner.start(path, control=True, record=False),
        runner.start(path, control=True, record=False),
    ):
        eventually(lambda: len(runner.running()) == 2, "there are not two machines")
        assert [status.name for status in runner.running()] == ["guest", "guest-2"]


def test_a_run_without_control_has_no_socket(write_spec, sockets):
    with runner.start(write_spec(SPIN)):
        time.sleep(0.3)
        assert not sockets.exists()


def test_a_short_run_has_no_socket_unless_it_has_a_name(write_spec, sockets):
    assert runner.run(write_spec(HLT), control=True, record=False).kind == "halt"
    assert not sockets.exists()
    assert runner.run(write_spec(HLT), control="guest", record=False).kind == "halt"
    assert list(sockets.iterdir()) == []


def test_a_run_that_has_not_asked_for_control_needs_no_folder(write_spec, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    path = write_spec(SPIN, vm={"timeout": "300ms"})
    assert runner.run(path, control=True, record=False).kind == "timeout"
    with pytest.raises(runner.HostError, match=r"cannot be controlled by the name 'guest'.*none"):
        runner.run(path, control="guest", record=False)


def test_a_name_of_the_spec_may_be_long(write_spec):
    path = write_spec(SPIN, vm={"name": "é" * 500})
    with runner.start(path, control=True, record=False):
        eventually(runner.running, "it is not listed")
        [status] = runner.running()
    assert set(status.name) == {"é"}


# Commands


def test_the_commands_of_a_machine(write_spec, started, capsys, sockets):
    process = started(write_spec(SPIN), "--name", "one", name="one")
    status, out, err = command(capsys, "list")
    assert (status, err) == (0, "")
    assert [line.split()[:3] for line in out.splitlines()] == [
        ["NAME", "PID", "STATE"],
        ["one", str(process.pid), "running"],
    ]
    assert command(capsys, "pause", "one") == (0, "", "")
    [shown] = json.loads(command(capsys, "list", "--json")[1])
    assert (shown["name"], shown["state"], shown["pid"]) == ("one", "paused", process.pid)
    assert command(capsys, "resume", "one") == (0, "", "")
    assert command(capsys, "stop", "one") == (0, "one: interrupted, exit status 130\n", "")
    assert process.wait(60) == 130
    assert command(capsys, "list")[1].splitlines()[1:] == []
    status, out, err = command(capsys, "pause", "one")
    assert (status, out, err) == (2, "", "vmrun: no machine named 'one' runs: vmrun list shows those that do\n")
    assert list(sockets.iterdir()) == []


def test_the_reset_button(write_spec, started, capsys):
    process = started(write_spec(SPIN))
    assert command(capsys, "reset", "guest") == (0, "guest: reset, exit status 0\n", "")
    assert process.wait(60) == 0


def test_a_second_run_with_the_same_name_is_refused(write_spec, started):
    first = started(write_spec(SPIN), "--no-trace", "--name", "guest")
    second = started(write_spec(SPIN), "--no-trace", "--name", "guest")
    assert second.wait(60) == 3
    assert f"the name 'guest' is in use by process {first.pid}" in second.stderr.read().decode()


@pytest.mark.parametrize("words", [["--timeout", "0"], ["--timeout", "x"], []])
def test_a_command_line_that_is_wrong(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["stop", *words])
    assert caught.value.code == 2


def test_an_empty_name_is_refused(write_spec, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--name", "", str(write_spec(HLT))])
    assert caught.value.code == 2
    assert "it is empty" in capsys.readouterr().err


# What a machine's hardware takes

# Wait for PM1_STS to have PWRBTN_STS, then power off by S5.
BUTTON = bytes.fromhex("ba 00 06  ed  f6 c4 01  74 fa  ba 04 06  b8 00 34  ef  f4")
# The handler of vector 2 counts at 0x8000, prints an "N" and goes on; the rest counts at 0x8004.
NMI = """
    movw $handler, 8
    movw $0, 10
1:  incl 0x8004
    jmp 1b
handler:
    mov $'N', %al
    out %al, $0xe9
    incl 0x8000
    iret
"""


def test_the_power_button_is_pressed(write_spec, capsys):
    with runner.start(write_spec(BUTTON, devices=[{"kind": "acpi"}]), control="guest") as run:
        assert command(capsys, "power", "guest") == (0, "", "")
        assert run.result(60).kind == "poweroff"


def test_a_non_maskable_interrupt_reaches_each_vcpu(write_spec, assemble, capsys):
    path = write_spec(assemble(NMI), devices=[{"kind": "debug-port", "output": "none"}], vm={"vcpus": 2})
    with runner.start(path, control="guest", record=False) as run:
        eventually(lambda: run._session.machine.memory.read(0x8004, 4) != bytes(4), "the guest does not run")
        assert command(capsys, "nmi", "guest") == (0, "", "")
        eventually(lambda: counter(run) == 2, "not every vCPU took it")
        assert command(capsys, "nmi", "guest", "--vcpu", "1") == (0, "", "")
        eventually(lambda: counter(run) == 3, "the vCPU has not taken it")
        status, _, err = command(capsys, "nmi", "guest", "--vcpu", "2")
        assert (status, "there is no vCPU 2: the machine has 2" in err) == (2, True)


def test_a_balloon_is_shown_and_changed(write_spec, capsys):
    with runner.start(write_spec(SPIN, devices=[{"kind": "virtio-balloon"}]), control="guest"):
        status, out, _ = command(capsys, "balloon", "guest", "512KiB")
        assert (status, out.split()[:4]) == (0, ["target", "512KiB", "actual", "0B"])
        with runner.connect("guest") as control:
            eventually(lambda: control.balloon().target == 512 << 10, "the size has not changed")
            shown = json.loads(command(capsys, "balloon", "guest", "--json")[1])
            assert shown == {"target": 512 << 10, "actual": 0, "statistics": {}}
        status, _, err = command(capsys, "balloon", "guest", "1GiB")
        assert (status, "a balloon of 1073741824 bytes in a machine of 1048576" in err) == (2, True)


# Receives with the interrupt on, and prints the status and the character of each of three.
LINE = """
    mov $0x3fc, %dx
    mov $0x0b, %al
    out %al, %dx
    mov $3, %cx
1:  mov $0x3fd, %dx
2:  in %dx, %al
    test $1, %al
    jz 2b
    and $0x1f, %al
    out %al, $0xe9
    mov $0x3f8, %dx
    in %dx, %al
    out %al, $0xe9
    loop 1b
    hlt
"""
SERIALS = [{"kind": "debug-port"}, {"kind": "serial"}, {"kind": "serial", "com": 2, "input": "none"}]


def test_a_magic_sysrq_is_a_break_and_a_key(write_spec, assemble, capsys):
    with runner.start(write_spec(assemble(LINE), devices=SERIALS), control="guest") as run:
        status, out, err = command(capsys, "sysrq", "guest", "t", "--device", "serial2")
        assert (status, out, "the machine has no console 'serial2'" in err) == (1, "", True)
        status, out, err = command(capsys, "sysrq", "guest", "tt")
        assert (status, out, "'tt' is no key of a magic SysRq" in err) == (2, "", True)
        assert command(capsys, "sysrq", "guest", "x", "--device", "serial1") == (0, "", "")
        assert command(capsys, "sysrq", "guest", "t") == (0, "", "")
        with runner.connect("guest") as control, pytest.raises(ControlError, match="a terminal of 65536 columns"):
            control.resize(1 << 16, 25)
        assert run.line_break()
        assert run.result(60).console == b"\x11\0\x01t\x11\0"


@pytest.mark.parametrize(
    ("words", "device"),
    [
        (["power"], "acpi"),
        (["balloon"], "virtio-balloon"),
        (["sysrq", "t"], "serial or virtio-console"),
    ],
)
def test_a_machine_without_the_device_says_which_it_needs(write_spec, capsys, words, device):
    with runner.start(write_spec(SPIN), control="guest"):
        status, out, err = command(capsys, words[0], "guest", *words[1:])
    assert (status, out) == (1, "")
    assert f"its spec needs the device {device}" in err


# Kills


def test_a_machine_is_killed_whether_it_answers_or_not(write_spec, started, capsys, sockets):
    process = started(write_spec(SPIN))
    process.send_signal(signal.SIGSTOP)
    [recorder] = children(process.pid)
    assert command(capsys, "kill", "guest") == (0, f"guest: killed process {process.pid}\n", "")
    assert process.wait(60) == -signal.SIGKILL
    eventually(lambda: gone(recorder), "the recorder runs on")
    assert runner.running() == ()
    assert list(sockets.iterdir()) == []
    status, _, err = command(capsys, "kill", "guest")
    assert (status, "no machine named" in err) == (2, True)


def test_a_killed_machine_leaves_nothing_that_the_next_use_does_not_remove(write_spec, started, sockets):
    for _ in range(3):
        process = started(write_spec(SPIN), "--no-trace", "--name", "guest")
        process.kill()
        process.wait(60)
    assert [path.name for path in sockets.iterdir()] == ["guest.sock"]
    assert runner.running() == ()
    assert list(sockets.iterdir()) == []


def test_killed_clients_leave_nothing(write_spec, descriptors):
    code = "import sys, time, runner; c = runner.connect('guest'); {}; print(flush=True); time.sleep(600)"
    doings = ["c.pause()", "c._end.sendall(b'{')", 'c.resume(); c._end.sendall(b\'{"verb": "pause"}\\n\')']
    with runner.start(write_spec(SPIN, vm={"timeout": "600s"}), control="guest"):
        with runner.connect("guest") as control:
            control.pause()  # the thread that does so stays
            control.resume()
        eventually(lambda: not _clients(), "a connection is left")
        before = descriptors()
        for doing in doings:
            client = subprocess.Popen([sys.executable, "-c", code.format(doing)], stdout=subprocess.PIPE)
            client.stdout.readline()
            client.kill()
            client.communicate()
        eventually(lambda: descriptors() <= before, "descriptors are left")
        with runner.connect("guest") as control:
            control.resume()
            assert control.status().state == "running"


def _clients():
    """Whether this process holds connections of control."""
    names = set()
    for path in Path("/proc/self/fd").iterdir():
        try:
            end = socket.socket(fileno=os.dup(int(path.name)))
        except OSError:
            continue
        with end:
            if end.family == socket.AF_UNIX and str(end.getsockname()).endswith("guest.sock"):
                names.add(path.name)
    return len(names) > 1  # one listens
