"""Debian's gdb and replays on the host's KVM: it follows a recording, and goes back in it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.flatdriver import DATA, HLT
from tests.runner.replay import devicesguests as guests
from tests.runner.virtualguests import CONTRACT, POST, RTC, TRIPLE_FAULT, VIRTUAL

pytestmark = pytest.mark.kvm

# Two values are written, the second where the guest says that it writes 5.
WRITES = """
    mov $0x8000, %esp
    mov $1, %eax
    call store
    out %al, $0x80
again:
    inc %eax
    call store
    out %al, $0x80
    cmp $4, %eax
    jb again
    nop
    mov $7, %ebx
    out %al, $0x80
    cli
    hlt
store:
    nop
    mov %eax, 0x3000
    ret
"""
AGAIN, STORE = 0x1011, 0x1029  # in it; the write is an instruction later
ENTRY = 0x1000


# vmrun, with checkpoints so near to places that small guests have some.
NEAR = """
import sys
from runner.replay import seeking
from runner.cli import main
seeking.NEAR, seeking.FAR = 2, 6
sys.exit(main())
"""
VMRUN = {"near": (sys.executable, "-c", NEAR), "usual": (Path(sys.executable).with_name("vmrun"),)}


@pytest.fixture(params=["near", pytest.param("usual", marks=pytest.mark.soak)])
def follow(tmp_path, request):
    """Replays a trace for gdb with these commands: what gdb has printed, and vmrun's status and output."""

    def follow(trace, *commands, arguments=()):
        where = tmp_path / "gdb"
        command = [*VMRUN[request.param], "--replay", trace, "--gdb", f"unix:{where}", *arguments]
        words = ["set remotetimeout 60", f"target remote {where}", *commands]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as vmrun:
            try:
                assert "waiting for gdb" in vmrun.stderr.readline()
                done = subprocess.run(
                    ["gdb", "-nx", "-batch", *(word for each in words for word in ("-ex", each))],
                    stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
                )  # fmt: skip
                said = vmrun.communicate(timeout=60)
            finally:
                vmrun.kill()
        return done.stdout + done.stderr, vmrun.returncode, said[0] + said[1]

    return follow


@pytest.fixture
def written(run_guest, assemble):
    return run_guest(assemble(WRITES, 64), boot={"mode": "long"}, devices=[POST], vm=VIRTUAL | {"memory": "4MiB"}).trace


def values(text):
    return [int(value, 0) for value in re.findall(r"^\$\d+ = (-?\w+)$", text, re.MULTILINE)]


PC = "p/x $pc"


def test_a_replay_is_followed_to_its_end(follow, written):
    text, status, said = follow(
        written, PC, f"break *{AGAIN:#x}", "continue", PC, "p $eax", "delete", "stepi", "p $eax", "continue", PC,
        "continue", "detach",
    )  # fmt: skip
    assert values(text) == [ENTRY, AGAIN, 1, 2, STORE]  # the end is after HLT
    assert text.count("No more reverse-execution history.") == 2
    assert (status, said) == (0, "all 6 exits are as recorded\n")


def test_back_to_the_write_that_caused_it(follow, written):
    """By a watchpoint, from the end: before each write."""
    text, _, _ = follow(
        written, "continue", "watch *(int *) 0x3000", "reverse-continue", PC, "p $eax", "reverse-continue", PC,
        "p *(int *) 0x3000", "reverse-continue", "reverse-continue", "p $eax", PC, "reverse-continue", PC, "kill",
    )  # fmt: skip
    assert values(text) == [STORE + 1, 4, STORE + 1, 2, 1, STORE + 1, ENTRY]
    assert re.findall(r"^(Old|New) value = (\d)$", text, re.MULTILINE)[:2] == [("Old", "4"), ("New", "3")]


def test_back_from_a_triple_fault_to_the_write_that_caused_it(follow, run_guest, assemble):
    made = run_guest(assemble(TRIPLE_FAULT, 64), boot={"mode": "long"}, devices=[POST], vm=VIRTUAL | {"memory": "4MiB"})
    assert made.kind == "triple-fault"
    text, _, _ = follow(
        made.trace, "continue", "reverse-stepi", PC, "watch *(int *) 0x3000", "reverse-continue", "p *(int *) 0x3000",
        "stepi", "p/x *(int *) 0x3000", "kill",
    )  # fmt: skip
    where, before, after = values(text)
    assert before != where == after == 0x3010


def test_back_to_a_breakpoint(follow, written):
    text, _, _ = follow(
        written, "continue", f"break *{AGAIN:#x}", "reverse-continue", PC, "p $eax", "reverse-continue", "p $eax",
        "continue", "p $eax", "reverse-continue", "reverse-continue", "p $eax", "reverse-continue", PC, "kill",
    )  # fmt: skip
    assert values(text) == [AGAIN, 3, 2, 3, 1, ENTRY]


def test_each_step_can_be_taken_back(follow, written):
    """Over exits too. The first is forward, so that where the guest is must be found out."""
    steps = 25
    text, _, _ = follow(
        written, *(("stepi", PC) * steps), *(("reverse-stepi", PC) * (steps + 1)), *(("stepi", PC) * 5), "kill"
    )
    found = values(text)
    there, back, again = found[:steps], found[steps : 2 * steps + 1], found[2 * steps + 1 :]
    assert back == [*there[-2::-1], ENTRY, ENTRY]
    assert again == there[:5]


def test_registers_that_recur_are_no_place(follow, run_guest, assemble):
    """A loop that counts in memory: its registers are the same each time."""
    code = "mov $0x8000, %esp; 1: incl 0x3000; cmpl $20, 0x3000; jne 1b; cmpl $20, 0x3000; cli; hlt"
    made = run_guest(assemble(code, 64), boot={"mode": "long"}, vm=VIRTUAL | {"memory": "4MiB"}).trace
    text, _, _ = follow(
        made, "break *0x1005 if *(int *) 0x3000 == 7", "continue", "delete", "stepi", "p *(int *) 0x3000",
        "reverse-stepi", "p *(int *) 0x3000", "kill",
    )  # fmt: skip
    assert values(text) == [8, 7]


def test_back_out_of_an_interrupt(follow, run_guest, assemble):
    code = assemble(f"TURNS = 100\n{CONTRACT}")
    made = run_guest(code, devices=[RTC, POST, {"kind": "debug-port"}], vm=VIRTUAL).trace
    handler = 0x1000 + code.index(b"\xfb\x50\xff\x06")  # sti; push %ax; incw count
    there = ("reverse-stepi", PC) * 6
    back = ("stepi", PC) * 6
    text, _, _ = follow(
        made,
        f"hbreak *{handler:#x}",
        "continue",
        "continue",
        PC,
        "delete",
        *there,
        *back,
        "kill",
    )
    first, *rest = values(text)
    assert first == handler
    assert rest[6:11] == rest[4::-1]
    assert rest[11] in (handler, handler + 1)  # KVM's own step into a handler may end after an instruction of it
    assert max(rest[:6]) < handler


def test_what_a_device_wrote_is_found(follow, run_guest):
    """Before the instruction whose exit it came at."""
    devices = [{"kind": "virtio-rng", "seed": 5}, {"kind": "debug-port"}]
    code = guests.random_bytes([33]) + HLT
    made = run_guest(
        code, boot={"mode": "protected"}, devices=devices, vm=guests.VIRTUAL, trace=guests.RECORDED
    ).trace  # fmt: skip
    where = f"*(int *) {DATA:#x}"
    text, _, _ = follow(
        made, "continue", f"watch {where}", "reverse-continue", f"p {where}", "delete",
        "stepi", f"p {where} != 0", "kill",
    )  # fmt: skip
    assert values(text) == [0, 1]


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        (("awatch *(int *) 0x3000",), "looks for writes, not for reads: use watch"),
        (tuple(f"break *{ENTRY + at:#x}" for at in range(5)), "has 4 breakpoints at most: delete some"),
    ],
)
def test_what_cannot_be_looked_for_backwards_is_said(follow, written, commands, message):
    text, status, _ = follow(written, *commands, "stepi", "reverse-continue", "detach")
    assert message in text
    assert status == 0


def test_a_replay_up_to_an_exit_stops_there(follow, written):
    text, _, said = follow(written, "continue", PC, "reverse-stepi", PC, "detach", arguments=("--until", "2"))
    assert values(text) == [0x101A, 0x1018]
    assert said.startswith("the first 2 of 6 exits are as recorded")
