"""Debian's gdb and guests on the host's KVM.

The host's KVM may interpret the guest's code. Then only breakpoints in debug registers and steps work, at privilege
level 0. tests/runner/control/gdb/test_machinetarget.py tests INT3 and watchpoints without KVM.
"""

import os
import re
import signal
import socket
import subprocess
import sys
from unittest.mock import Mock

import pytest

import runner
import tracer
from runner.cli import main
from runner.control.errors import ControlError
from runner.control.gdb.breakpoints import INT3
from runner.kvm.errors import HostError
from runner.machine.machine import Machine
from tests.fakes.processes import eventually
from tests.runner.virtualguests import CONTRACT, DEBUG, POST, RTC
from vmspec.trace.record import COMPARED

pytestmark = pytest.mark.kvm

LOOP = """
    mov $0x8000, %esp
    mov $0x1122334455667788, %rbx
again:
    inc %rax
    call work
    jmp again
work:
    incq 0x3000
    ret
"""
AGAIN, WORK = 0x100F, 0x1019  # addresses in LOOP
SPIN = "eb fe"


@pytest.fixture
def start(write_spec, tmp_path):
    """Starts a guest of 64-bit code that waits for gdb, and returns its run. ``start.gdb`` runs gdb's commands."""
    begun = []

    def started(code, vm=None, record=False, **keys):
        path = write_spec(code, boot={"mode": "long"}, vm={"memory": "4MiB", "timeout": "60s", **(vm or {})}, **keys)
        begun.append(runner.start(path, gdb=f"unix:{tmp_path}/gdb", control="guest", record=record))
        return begun[-1]

    def gdb(*commands, program=()):
        return debug(f"target remote {tmp_path}/gdb", *commands, program=program)

    started.gdb = gdb
    started.socket = tmp_path / "gdb"
    yield started
    for run in begun:
        run.stop()
        run.result()


def debug(*commands, program=()):
    words = [word for command in ("set remotetimeout 10", *commands) for word in ("-ex", command)]
    done = subprocess.run(
        ["gdb", "-nx", "-batch", *words, *program],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout + done.stderr


def values(text):
    """What gdb's command output has printed, in order."""
    return [int(value, 0) for value in re.findall(r"^\$\d+ = (-?\w+)$", text, re.MULTILINE)]


def test_the_machine_waits_before_its_first_instruction(start, assemble):
    run = start(assemble(LOOP, bits=64))
    with runner.connect("guest") as control:
        eventually(lambda: control.status().state == "paused", "the machine does not wait")
    text = start.gdb("p/x $pc", "p $rax", "p/x $cr0", "x/i $pc", "kill")
    assert values(text)[:2] == [0x1000, 0]
    assert "=> 0x1000:\tmov    $0x8000,%esp" in text
    result = run.result()
    assert (result.kind, result.detail, result.counters) == ("interrupted", "killed by the debugger", {"dropped": 0})


def test_breakpoints_steps_registers_and_memory(start, assemble):
    start(assemble(LOOP, bits=64))
    text = start.gdb(
        f"break *{WORK:#x}", f"hbreak *{AGAIN:#x}", "continue", "p/x $rip", "continue", "p/x $rip", "p/x $rbx",
        "p *(long *) 0x3000", "stepi", "p/x $rip", "p *(long *) 0x3000",  # work has begun
        "set var *(long *) 0x3000 = 70", "set var $rax = 41", "set var $xmm3.v2_int64[1] = 5", "set var $st0 = 1.5",
        "set var $ftag = 0xfffc",
        "delete", f"break *{AGAIN:#x}", "continue", "continue",
        "p $rax", "p *(long *) 0x3000", "p $xmm3.v2_int64[1]", "p (int) (2 * $st0)", "p/x $ftag",
        "p *(char *) 0x800000", "kill",
    )  # fmt: skip
    assert values(text) == [AGAIN, WORK, 0x1122334455667788, 0, 0x1021, 1, 42, 71, 5, 3, 0xFFFC]
    assert "Cannot access memory at address 0x800000" in text


def test_a_register_takes_the_bits_that_it_has(start, assemble):
    start(assemble(LOOP, bits=64))
    text = start.gdb(
        "set var $fctrl = 0x1037f", "set var $fop = 0x12345678", "set var $fiseg = 0x7fffffff", "p/x $fctrl", "kill"
    )
    assert values(text) == [0x37F]


def test_others_find_no_breakpoint_in_memory(start, assemble):
    machine = start(assemble(LOOP, bits=64))._session.machine
    with connected(start) as client:
        for at in range(0x1100, 0x1105):
            assert ask(client, b"Z0,%x,1" % at) == b"OK"
        send(client, b"vCont;c")
        eventually(lambda: machine.memory.read(0x1104, 1) == INT3, "no breakpoint is in memory")
        with machine.standing() as stands:
            assert (stands, machine.memory.read(0x1104, 1)) == (True, b"\0")
        assert machine.memory.read(0x1104, 1) == INT3


def test_more_breakpoints_than_debug_registers(start, assemble):
    """At least those in debug registers stop the guest here; the others are INT3, which some hosts cannot execute."""
    start(assemble(LOOP, bits=64))
    hit = f"break *{WORK:#x}"
    text = start.gdb(hit, *(f"break *{at:#x}" for at in (0x1100, 0x1101, 0x1102, 0x1103)), "continue", "p/x $rip",
                     "p/x *(char *) 0x1103", "kill")  # fmt: skip
    assert values(text) == [WORK, 0]


def test_a_step_over_an_exit(start, assemble):
    """OUT is an exit; the step is over once the guest has made it."""
    run = start(
        assemble("mov $7, %al; out %al, $0x80; inc %rbx; out %al, $0xf4", bits=64), devices=[{"kind": "debug-exit"}]
    )
    text = start.gdb("stepi", "stepi", "p/x $rip", "stepi", "p $rbx", "continue")
    assert values(text) == [0x1004, 1]
    assert "[Inferior 1 (Remote target) exited with code 017]" in text
    result = run.result()
    assert (result.kind, result.status, result.counters) == ("debug-exit", 15, {"io": 2, "dropped": 0})


def test_the_guest_goes_on_when_the_client_detaches_and_another_may_come(start, assemble):
    start(assemble(LOOP, bits=64))
    first = start.gdb(f"break *{WORK:#x}", "continue", "detach")
    assert "[Inferior 1 (Remote target) detached]" in first
    with runner.connect("guest") as control:
        assert control.status().state == "running"
        again = start.gdb("p *(long *) 0x3000 > 1", "p/x *(char *) 0x1019", "detach")
        assert values(again) == [1, 0x48]
        assert control.status().state == "running"


def test_nobody_else_resumes_a_guest_that_the_debugger_holds(start, assemble):
    start(assemble(LOOP, bits=64))
    with connected(start) as client, runner.connect("guest") as control:
        ask(client, b"?")
        with pytest.raises(ControlError, match="a debugger has stopped the guest"):
            control.resume()
        control.pause()
        assert control.inspect("vcpus/0/registers/rip") == f"{0x1000:#018x}"


def connected(start):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(20)
    client.connect(str(start.socket))
    return client


def send(client, data):
    client.sendall(b"$%b#%02x" % (data, sum(data) % 256))


def receive(client):
    text = b""
    while not re.search(rb"\$[^#]*#..", text):
        part = client.recv(4096)
        if not part:
            raise EOFError(text)
        text += part
    return re.search(rb"\$([^#]*)#", text)[1]


def ask(client, data):
    send(client, data)
    return receive(client)


@pytest.mark.parametrize("running", [False, True])
def test_the_guest_goes_on_when_the_client_vanishes(start, assemble, running):
    start(assemble(LOOP, bits=64))
    with connected(start) as client:
        assert ask(client, f"Z1,{WORK:x},1".encode()) == b"OK"
        send(client, b"vCont;c")
        if not running:
            assert receive(client) == b"T05thread:1;"
    with runner.connect("guest") as control:
        before = control.inspect("vcpus/0/registers/rax")
        eventually(
            lambda: control.inspect("vcpus/0/registers/rax") != before and control.status().state == "running",
            "the guest stands still",
        )


def test_an_interrupt_stops_the_guest(start):
    start(SPIN)
    with connected(start) as client:
        send(client, b"vCont;c")
        client.sendall(b"\x03")
        assert receive(client) == b"T02thread:1;"
        assert ask(client, b"vCont;s:1") == b"T05thread:1;"
        send(client, b"vCont;c")
        assert ask(client, b"g") == b"E.the guest runs: interrupt it first"
        client.sendall(b"\x03")
        assert receive(client) == b"T02thread:1;"


def test_the_end_of_a_run_is_reported_to_a_client_that_waits(start):
    run = start("f4", vm={"irqchip": "none"})
    with connected(start) as client:
        send(client, b"vCont;c")
        assert receive(client) == b"W00"
        assert client.recv(10) == b""
    assert run.result().kind == "halt"


def test_each_vcpu_is_a_thread_with_registers_of_its_own(start):
    start(SPIN, vm={"vcpus": 3})
    text = start.gdb("info threads", "thread 1", "p $cr0 != 0", "thread 2", "stepi", "kill")
    assert re.findall(r"Thread (\d) \(vCPU (\d): ", text) == [("1", "0"), ("2", "1"), ("3", "2")]


def test_the_registers_follow_the_mode(write_spec, tmp_path):
    with runner.start(write_spec(SPIN, boot={"mode": "real"}), gdb=f"unix:{tmp_path}/gdb", record=False):
        text = debug(f"target remote {tmp_path}/gdb", "p/x $eip", "x/i $eip", "show architecture", "kill")
    assert values(text) == [0x1000]
    assert '"i386"' in text


def test_an_address_where_nothing_can_listen(write_spec, tmp_path):
    (tmp_path / "gdb").write_text("")
    with pytest.raises(HostError, match="it is not a socket"):
        runner.run(write_spec(SPIN), gdb=f"unix:{tmp_path}/gdb", record=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HostError, match=f"cannot listen at 127.0.0.1:{port}: Address already in use"):
            runner.run(write_spec(SPIN), gdb=f":{port}", record=False)
    with pytest.raises(HostError, match=r"cannot listen at a\.\.b:1234: 'a\.\.b' is no name of a host"):
        runner.run(write_spec(SPIN), gdb="a..b:1234", record=False)
    with pytest.raises(ValueError, match="is no address"):
        runner.run(write_spec(SPIN), gdb="here", record=False)


def test_gdb_starts_vmrun_over_a_pipe(write_spec):
    path = write_spec(
        "b0 41 e6 e9 b0 07 e6 f4", devices=[{"kind": "debug-port"}, {"kind": "debug-exit"}], boot={"mode": "real"}
    )
    vmrun = f"{sys.executable} -m runner.cli {path} --no-trace --gdb stdio"
    text = debug(f"target remote | {vmrun}", "p/x $eip", "continue")
    assert values(text) == [0x1000]
    assert "exited with code 017" in text
    assert "A" in text


def test_ctrl_c_ends_a_run_that_waits_for_gdb(write_spec, tmp_path):
    words = [sys.executable, "-m", "runner.cli", write_spec(SPIN), "--no-trace", "--gdb", f"unix:{tmp_path}/gdb"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline() == f"vmrun: waiting for gdb: target remote {tmp_path}/gdb\n"
        eventually((tmp_path / "gdb").exists, "no socket")
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(20) == 130
    assert not (tmp_path / "gdb").exists()


def test_a_running_machine_is_debugged_by_its_name(write_spec, assemble, monkeypatch):
    """As ``vmrun gdb NAME`` does, which becomes gdb."""
    path = write_spec(assemble(LOOP, bits=64), boot={"mode": "long"}, vm={"timeout": "60s"})
    pipe = f"{sys.executable} -m runner.cli gdb --pipe guest"
    with runner.start(path, control="guest", record=False), runner.connect("guest") as control:
        text = debug(f"target remote | {pipe}", "p $rax > 0", f"break *{WORK:#x}", "continue", "p/x $rip")
        assert values(text) == [1, WORK]
        eventually(lambda: control.status().state == "running", "the guest stands still")
        with runner.connect("guest").gdb() as client:
            assert ask(client, b"?") == b"T05thread:1;"
            with pytest.raises(ControlError, match="a debugger is attached already"):
                control.gdb()
            assert control.status().state == "paused"
        eventually(lambda: control.status().state == "running", "the guest stands still")


def test_a_guest_that_cannot_be_stopped_goes_on_without_a_debugger(write_spec, assemble, monkeypatch):
    path = write_spec(assemble(LOOP, bits=64), boot={"mode": "long"}, vm={"timeout": "60s"})
    said = []
    with (
        runner.start(path, control="guest", record=False, notice=said.append),
        runner.connect("guest") as control,
        monkeypatch.context() as late,
    ):
        late.setattr(Machine, "hold", Mock(side_effect=TimeoutError("serial0 does not return")))
        with runner.connect("guest").gdb() as client:
            assert client.recv(1) == b""
        assert "the guest cannot be stopped, so the client is sent away: serial0 does not return" in said[-1]
        assert control.status().state == "running"
        late.undo()
        with runner.connect("guest").gdb() as client:
            assert ask(client, b"?") == b"T05thread:1;"


def test_vmrun_gdb_becomes_gdb(monkeypatch):
    became = []
    monkeypatch.setattr(os, "execvp", lambda *call: became.append(call))
    main(["gdb", "my guest", "vmlinux", "--", "-q"])
    [(program, words)] = became
    assert (program, words[1:3], words[-1].endswith("gdb --pipe -- 'my guest'")) == ("gdb", ["vmlinux", "-q"], True)


def test_without_gdb(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert main(["gdb", "guest"]) == 1
    assert "gdb cannot be started: No such file or directory" in capsys.readouterr().err


def test_a_mark_is_in_the_trace(start, assemble, tmp_path):
    run = start(assemble(LOOP, bits=64), record=True, trace={"inputs": True})
    text = start.gdb("monitor mark the loop begins", "monitor mark", "kill")
    assert "marked\na mark needs a text" in text
    inputs = tracer.load(run.result().trace).tables["inputs"].table
    assert [row["data"] for row in inputs.to_pylist() if row["kind"] == "mark"] == [b"the loop begins"]


def test_without_recorded_inputs_there_is_no_mark(start):
    start(SPIN)
    assert "this run records no inputs" in start.gdb("monitor mark here", "kill")


def test_with_virtual_time_the_exits_are_those_of_a_run_without_gdb(write_spec, assemble, tmp_path):
    """Breakpoints, steps and pauses take no time of the guest's, and have no rows; also where interrupts come."""
    code = assemble(CONTRACT.replace("TURNS", "100"))
    path = write_spec(code, devices=[POST, DEBUG, RTC], vm={"time": "virtual", "timeout": "60s"})

    def exits(result):
        table = tracer.load(result.trace).table
        return table.select(list(COMPARED)).to_pylist()

    plain = exits(runner.run(path))
    turn = 0x1000 + code.index(b"\x30\xc0\xe6\x43")  # its first instructions
    with runner.start(path, gdb=f"unix:{tmp_path}/gdb") as run:
        text = debug(
            f"target remote {tmp_path}/gdb", "stepi 5", f"hbreak *{turn:#x}", "continue", "p/x $eip", "continue",
            "p/x $eip", "stepi 40", "delete", "continue",
        )  # fmt: skip
        assert values(text) == [turn, turn]
        assert exits(run.result(60)) == plain
