"""Core files of machines that run, opened with gdb and drgn."""

import re
import subprocess
from pathlib import Path

import drgn
import pytest

import runner
from runner.cli import main
from runner.control.dump import writing
from runner.control.errors import ControlError
from tests.fakes.processes import eventually

pytestmark = pytest.mark.kvm

SPIN = "eb fe"
# Maps 2 MiB at 0xffffffff81000000 to 2 MiB, by tables at 0x10000 that keep what is mapped already, and goes there.
HIGH = """
    mov $0x1122334455667788, %rbx
    mov %cr3, %rax
    and $0xfffff000, %eax
    movq $0x10003, 0xff8(%rax)
    movq $0x11003, 0x10ff0
    movq $0x200083, 0x11040
    mov %cr3, %rcx
    mov %rcx, %cr3
    mov $body, %rsi
    mov $0x200100, %edi
    mov $64, %ecx
    rep movsb
    mov $0xffffffff81000100, %rax
    jmp *%rax
body:
    incq 0x200000
    jmp body
"""


@pytest.fixture(autouse=True)
def _sockets(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def gdb(core, *commands):
    words = [word for command in commands for word in ("-ex", command)]
    done = subprocess.run(["gdb", "-nx", "-batch", *words, "-core", core], capture_output=True, text=True, check=True)
    return done.stdout


def test_debuggers_open_a_dump_with_registers_and_memory(write_spec, assemble, tmp_path):
    path = write_spec(assemble(HIGH, bits=64), boot={"mode": "long"}, vm={"memory": "4MiB", "timeout": "60s"})
    core = tmp_path / "guest.core"
    with runner.start(path, control="guest", record=False) as run, runner.connect("guest") as control:
        where = "vcpus/0/registers/rip"
        eventually(lambda: int(control.inspect(where), 16) > 1 << 63, "the guest has not gone there")
        assert control.dump(core) == 4 << 20
        assert control.status().state == "running"
        control.pause()
        counted = int.from_bytes(run._session.machine.memory.read(0x200000, 8), "little")
    text = gdb(core, "info threads", "p/x $rbx", "p/x $rip", "x/gd 0xffffffff81000000", "x/gd 0x200000", "x/i $pc")
    assert "LWP 1" in text
    assert "0x1122334455667788" in text
    program = drgn.Program()
    program.set_core_dump(core)
    assert program.thread(1).stack_trace()[0].register("rbx") == 0x1122334455667788
    assert program.read_u64(0xFFFFFFFF81000000) == program.read_u64(0x200000)
    rip = int(re.search(r"= (0xffffffff8100[0-9a-f]+)", text)[1], 16)
    assert 0 <= rip - 0xFFFFFFFF81000100 < 64
    high, low = (int(re.search(rf"{address}:\t(\d+)", text)[1]) for address in ("0xffffffff81000000", "0x200000"))
    assert 0 < high == low <= counted
    assert re.search(r"=> 0x[0-9a-f]+:\t(incq|jmp)", text)


def test_each_vcpu_is_a_thread_and_real_mode_has_memory_too(write_spec, tmp_path):
    path = write_spec(SPIN, vm={"vcpus": 3})
    with runner.start(path, control="guest", record=False), runner.connect("guest") as control:
        control.dump(tmp_path / "core")
    text = gdb(tmp_path / "core", "info threads", "x/2xb 0x1000")
    assert [f"LWP {number}" in text for number in (1, 2, 3, 4)] == [True, True, True, False]
    assert "0xeb\t0xfe" in text


def test_the_command_and_unused_memory_takes_no_room(write_spec, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with runner.start(write_spec(SPIN, vm={"memory": "64MiB"}), control="guest", record=False):
        assert main(["dump", "guest", "a core"]) == 0
    assert capsys.readouterr().out == "a core: 64MiB of guest memory\n"
    status = (tmp_path / "a core").stat()
    assert status.st_size > 64 << 20
    assert status.st_blocks * 512 < 4 << 20


@pytest.mark.parametrize(
    ("path", "kind", "message"),
    [
        ("core", "argument", "needs the absolute path"),
        ("", "argument", "needs the absolute path"),
        ("/a\0b", "argument", "NUL"),
        ("/proc/none/core", "failed", "cannot be written: No such file"),
        ("/dev/null", "failed", "it exists, and is not a file"),
    ],
)
def test_a_file_that_cannot_be_written(write_spec, path, kind, message):
    with runner.start(write_spec(SPIN), control="guest", record=False), runner.connect("guest") as control:
        with pytest.raises(ControlError, match=message) as caught:
            control.request("dump", {"path": path})
        assert caught.value.kind == kind
        assert control.status().state == "running"


def test_the_end_of_a_run_ends_a_dump_and_leaves_no_file(write_spec, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    put = writing._put
    with runner.start(write_spec(SPIN, vm={"memory": "4MiB"}), control="guest", record=False) as run:

        def stops(file, data):
            run.stop()
            run._session.machine.stopping.set()
            put(file, data)

        monkeypatch.setattr(writing, "_put", stops)
        with runner.connect("guest") as control, pytest.raises(ControlError, match="the dump was not finished"):
            control.dump(tmp_path / "here/core")
    assert list(Path(tmp_path / "here").iterdir()) == []
