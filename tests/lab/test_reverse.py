"""From a crash of Linux back to its cause, in a recording, with Debian's gdb. One stay on each host; only the Intel one
has debug registers, which stop a guest that goes forward."""

import re
import sys
from pathlib import Path

import pytest

import tracer
from tests.guests import beside, debian, symbolfile
from tests.lab.labruns import HERE, stayed

pytestmark = [pytest.mark.lab, pytest.mark.soak]

VMRUN = Path(sys.executable).with_name("vmrun")
SCRIPT = """cd "$0"; vmrun=$1; spec=$2; vmlinux=$3; from=$4; commands=$5
"$vmrun" "$spec" --set "boot.kernel=$vmlinux" --set "boot.initrd=$from/initrd.img" --trace crash.arrow >console 2>&1
echo $? >status
"$vmrun" --replay crash.arrow --gdb unix:/run/gdb >replay.out 2>&1 &
until [ -S /run/gdb ]; do kill -0 $! || exit 1; sleep 1; done
gdb -nx -batch -ex "target remote /run/gdb" -x "$commands" "$from/vmlinux" >gdb.out 2>&1
wait
"""


@pytest.fixture(scope="module", params=["amd", "intel"])
def host(request):
    return request.param


@pytest.fixture(scope="module")
def folder(host, tmp_path_factory):
    """What the run, its replay and gdb left."""
    out, files = tmp_path_factory.mktemp("out"), tmp_path_factory.mktemp("reverse")
    kernel = debian.kernel("6.1-cloud")
    symbolfile.write(kernel, files / "vmlinux")
    beside.write_initrd(kernel, files / "initrd.img", HERE / "hung-init", ())
    vmlinux, gdb = debian.vmlinux(kernel), debian.program("gdb", "gdb")
    taken = (gdb, "/usr/share/gdb", "/usr/lib/python3.11", files, vmlinux)  # gdb has a Python in it
    take = [word for path in taken for word in ("--take", path)]
    script = ("sh", "-c", SCRIPT, out, VMRUN, HERE / "reverse.toml", vmlinux, files)
    commands = HERE / "inside" / "reverse.commands"
    stayed("--host", host, "--timeout", "90m", *take, "--share", out, "--", *script, commands)
    return out


@pytest.fixture(scope="module")
def said(folder):
    return (folder / "gdb.out").read_text()


def test_the_run_ended_with_a_panic(folder):
    assert tracer.load(folder / "crash.arrow").complete
    assert b"Kernel panic - not syncing: sysrq triggered crash" in (folder / "console").read_bytes()


def test_from_the_end_back_to_the_write_by_which_linux_panicked(said):
    end, back = said.split("at the end\n")
    assert end.rstrip().endswith("__ ()") or "No more reverse-execution history." in end
    assert re.search(r"Old value = 0\nNew value = -1$", back, re.MULTILINE)
    assert re.search(r"^panic_cpu: -1\n=> 0x[0-9a-f]+ <panic\+\d+>:.*cmpxchg", back, re.MULTILINE)


def test_back_to_the_function_that_did_it(said):
    assert re.search(r"^Breakpoint 2, 0x[0-9a-f]+ in sysrq_handle_crash \(\)$", said, re.MULTILINE)
    assert re.search(r"^key: c\nreturn to: __handle_sysrq(\.cold)? \+ \d+ in section \.text", said, re.MULTILINE)


def test_an_instruction_back_and_on_again(said, host):
    back = said.split("called by: ")[1]
    # Linux calls it by a thunk, which may return to it.
    assert re.match(r"\w+(\.cold)? \+ \d+ in section \.text[^\n]*\n=> .*(call|jmp|ret)", back)
    forward = r"^Breakpoint 2, 0x[0-9a-f]+ in sysrq_handle_crash \(\)$" if host == "intel" else r"^No more reverse-exec"
    assert re.search(forward, back, re.MULTILINE)
