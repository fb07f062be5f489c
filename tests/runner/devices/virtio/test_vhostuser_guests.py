"""Flat guests with devices that another process serves, through real exits: back ends of the tests' own, which start,
die and come back, qemu-storage-daemon and virtiofsd."""

import hashlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import tracer
from runner import DeviceError
from runner.backends.filelock import locked
from runner.backends.vhost import qcow2, virtiofsd
from tests.fakes.flatdriver import (
    AVAILABLE,
    DATA,
    HLT,
    USED,
    await_reset_needed,
    await_word,
    describe,
    kicks_of,
    offer,
    put,
    show,
    show_register,
    start,
    store,
)
from tests.fakes.processes import children, eventually, gone
from tests.fakes.vhostbackend import FakeBackEnd
from tests.runner.devices.pci.test_guests import ACKNOWLEDGE, DRIVE, INTA, MACROS, MSIX
from tests.runner.devices.pci.test_guests import VM as PCI
from tests.runner.devices.virtio.test_blk_guests import at, request
from tests.runner.test_leaks import held
from tracer.analysis.facts import facts
from tracer.decode import decoded
from vmspec import SpecError
from vmspec.registers import virtio as R

pytestmark = pytest.mark.kvm

ROOT = Path(__file__).parents[4]
FAKE = [sys.executable, str(ROOT / "tests/fakes/vhostbackend.py")]
WAYS = {
    "listener": ["--listener", "{listener}"],
    "connection": ["--connection", "{connection}"],
    "socket": ["--socket", "{socket}"],
}
ROOM = DATA + 0x1000
CONSOLE = 3  # a kind that has a queue
need_storage = pytest.mark.skipif(shutil.which("qemu-storage-daemon") is None, reason="no qemu-storage-daemon")
need_virtiofsd = pytest.mark.skipif(
    not any(Path(path).exists() for path in virtiofsd.PLACES) and shutil.which("virtiofsd") is None,
    reason="no virtiofsd",
)


def served(*arguments, **keys):
    return {"kind": "vhost-user", "virtio-id": CONSOLE, "command": [*FAKE, *arguments], **keys}


def ask(number, text):
    """Send a text in the chain of that number, an even one, and show what comes back."""
    chain = put(DATA, text) + describe(0, DATA, len(text), 1, 1) + describe(1, ROOM, len(text), 2)
    return chain + offer(number, 0) + await_word(USED + 2, number + 1) + show(ROOM, len(text))


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch, tmp_path):
    """No process but the recorder, which serves all runs; no socket."""
    before = {*children(os.getpid())}
    with TemporaryDirectory(prefix="vh-", dir="/tmp") as place:
        monkeypatch.setattr(tempfile, "tempdir", place)
        yield
        assert [*Path(place).iterdir()] == []  # pytest has made its own folder before
    left = {each for each in {*children(os.getpid())} - before if b"recorder" not in command_of(each)}
    assert {each: command_of(each) for each in left} == {}


def command_of(process):
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


# Whole runs


@pytest.mark.parametrize("way", WAYS)
def test_a_guest_is_answered(run_driver, way):
    result = run_driver(start() + ask(0, b"hello"), served(*WAYS[way]))
    assert (result.kind, result.console) == ("halt", b"hello"), result.detail


def test_at_a_socket(run_driver, tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "back-end"))
        listener.listen()
        thread = threading.Thread(target=lambda: FakeBackEnd(listener.accept()[0]).serve())
        thread.start()
        device = {"kind": "vhost-user", "virtio-id": CONSOLE, "socket": "back-end"}
        result = run_driver(start() + ask(0, b"hello"), device)
        thread.join()  # the run closes the connection
    assert (result.kind, result.console) == ("halt", b"hello"), result.detail


def test_runs_leave_nothing_behind(run_driver):
    before = None
    for _ in range(3):
        assert run_driver(start() + ask(0, b"hello"), served(*WAYS["listener"])).console == b"hello"
        before = before or held()  # what is imported once
    assert held() == before


SEND = """
    movl $0x30000, 0x10000
    movl $32, 0x10008
    movl $0x10001, 0x1000c
    movl $0x20000, 0x10010
    movl $32, 0x10018
    movl $2, 0x1001c
    movl $0x6c6c6568, 0x30000
"""


@pytest.mark.parametrize("notify", ["exit", "ioeventfd"])
@pytest.mark.parametrize(("interrupt", "acknowledge", "shown"), [(MSIX, "", b""), (INTA, ACKNOWLEDGE, b"\1\0\0")])
def test_over_pci(run_guest, assemble, interrupt, acknowledge, shown, notify):
    code = assemble(MACROS + DRIVE.format(request=SEND, interrupt=interrupt, acknowledge=acknowledge), bits=32)
    devices = [{"kind": "virtio-rng"}, served(*WAYS["listener"], notify=notify)]
    devices += [{"kind": "debug-port"}, {"kind": "debug-exit", "size": 1}]
    result = run_guest(code, boot={"mode": "protected"}, devices=devices, vm=PCI | {"timeout": "60s"})
    assert (result.kind, result.console) == ("debug-exit", shown + b"hell" + bytes(28)), result.detail


def test_notifications_that_kvm_answers(run_driver):
    result = run_driver(start() + ask(0, b"hello"), served(*WAYS["listener"], notify="ioeventfd"))
    assert (result.kind, result.console, kicks_of(result)) == ("halt", b"hello", [])


def test_the_trace_has_the_exits_and_no_requests(run_driver):
    """The back end alone sees requests."""
    result = run_driver(start() + ask(0, b"hello"), served(*WAYS["listener"]))
    trace = tracer.load(result.trace)
    rows = [row for row in trace.table.to_pylist() if row["device"] == "vhost-user0"]
    assert decoded(rows)[-1] == ("virtio QueueNotify", "queue 0")
    assert trace.tables["requests"].table.to_pylist() == []
    complete = facts(trace)["complete"]
    assert (complete["complete"], complete["unseen"]) == (True, ["vhost-user0"])
    assert "the requests to vhost-user0 are not in the trace (another process serves them)" in complete["why"]


# A back end that dies


@pytest.mark.parametrize("way", WAYS)
def test_one_that_dies_while_the_guest_runs_ends_the_run(run_driver, way):
    result = run_driver(start() + ask(0, b"one") + ask(2, b"two"), served(*WAYS[way], "--end-after", "1"))
    assert (result.kind, result.status) == ("backend-lost", 3)
    assert b"one".startswith(result.console)  # it may end before the guest has shown its answer
    assert result.detail == "device vhost-user0 has no back end any more: python ended with status 7".replace(
        "python", Path(sys.executable).name
    )


def again():
    """What a driver does after a reset: it begins anew."""
    return await_reset_needed() + store(AVAILABLE, 0) + store(USED, 0) + start() + ask(0, b"two")


@pytest.mark.parametrize("way", WAYS)
def test_one_that_dies_is_started_again_if_the_spec_says_so(run_driver, way):
    device = served(*WAYS[way], "--end-after", "1", lost="reset")
    result = run_driver(start() + ask(0, b"one") + again() + again() + show_register(R.STATUS), device)
    assert (result.kind, result.console[:9]) == ("halt", b"onetwotwo"), result.detail


def test_one_that_is_killed_says_by_what(run_driver):
    result = run_driver(start() + ask(0, b"one") + ask(2, b"two"), served(*WAYS["listener"], "--kill-after", "1"))
    assert (result.kind, result.status) == ("backend-lost", 3)
    assert result.detail.endswith("was killed by SIGKILL")


def test_children_of_a_back_end_end_with_it(run_driver):
    run_driver(start() + ask(0, b"one"), served(*WAYS["listener"], "--child"))
    eventually(lambda: not [each for each in every() if b"--child" in command_of(each)], "a child was left")


def every():
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_vmrun_whatever_ends_that(write_spec, number):
    device = served(*WAYS["listener"])
    spec = write_spec(start() + b"\xeb\xfe", boot={"mode": "protected"}, devices=[device])
    with subprocess.Popen([sys.executable, "-m", "runner.cli", str(spec)], stdin=subprocess.DEVNULL) as vmrun:
        mine = lambda: [each for each in children(vmrun.pid) if b"vhostbackend" in command_of(each)]  # noqa: E731
        eventually(mine, "no back end was started")
        [back_end] = mine()
        vmrun.send_signal(number)
    eventually(lambda: gone(back_end), "the back end was left")


# What is said of one that cannot be used


WRONG = {
    "no such program": ({"command": ["no-such-program", "{listener}"]}, "command: there is no program no-such-program"),
    "a folder": ({"command": ["./folder", "{listener}"]}, r"command: there is no program \./folder"),
    "no program": ({"command": ["./text", "{listener}"]}, r"command: text ended with status 127"),
    "one that ends": ({"command": [*FAKE, "--fail", "x", "{socket}"]}, r"command: python\S* ended with status 2"),
    "one that fails": ({"command": [*FAKE, "--fail", "x", "--listener", "{listener}"]}, "ended with status 7"),
    "no socket": ({"socket": "missing"}, "socket: there is no .*/missing: start the back end first"),
    "a file": ({"socket": "text"}, "socket: .*/text is no socket: give the one at which the back end listens"),
    "nobody": ({"socket": "nobody"}, "socket: nobody listens at .*/nobody: start the back end first"),
    "in a file": ({"socket": "text/x"}, "socket: cannot connect to .*/text/x: Not a directory"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_a_back_end_is_said_before_the_guest_runs(run_driver, tmp_path, case):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("no program\n")
    (tmp_path / "text").chmod(0o700)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "nobody"))
    keys, said = WRONG[case]
    with pytest.raises(DeviceError, match=rf"^device\[0\]\.{said}" if ":" in said else rf"^device\[0\]\..*{said}"):
        run_driver(b"", {"kind": "vhost-user", "virtio-id": CONSOLE, **keys})


def test_a_back_end_that_accepts_nobody_holds_nothing_up(run_driver, tmp_path):
    path = str(tmp_path / "busy")
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
        busy.bind(path)
        busy.listen(0)
        first.connect(path)
        with pytest.raises(DeviceError, match=r"cannot connect to .*/busy: Resource temporarily unavailable"):
            run_driver(b"", {"kind": "vhost-user", "virtio-id": CONSOLE, "socket": "busy"})


@pytest.mark.parametrize("way", ["listener", "socket"])
def test_a_temporary_folder_with_too_long_a_name(run_driver, tmp_path, monkeypatch, way):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(DeviceError, match=r"^device\[0\]\.command: cannot make a socket in /.*: AF_UNIX path too long"):
        run_driver(b"", served(*WAYS[way]))
    assert [*long.iterdir()] == []


def test_as_a_command_it_is_status_2(write_spec, tmp_path):
    device = {"kind": "vhost-user", "virtio-id": CONSOLE, "socket": "missing"}
    spec = write_spec(HLT, devices=[device])
    command = [sys.executable, "-m", "runner.cli", str(spec)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"vmrun: device[0].socket: there is no {tmp_path}/missing: start the back end first\n"


FS = {"kind": "virtio-fs", "path": "folder", "tag": "share"}
PROBLEMS = {
    "two tags": ([FS, FS], "device[1].tag: virtio-fs0 has the tag share too"),
    "no folder": ([FS | {"path": "missing"}], "is no folder of this host"),
    "a file": ([FS | {"path": "text"}], "is no folder of this host"),
    "a long tag": ([FS | {"tag": "x" * 37}], "device[0].tag"),
    "private memory": ([FS], "memory.backing: another process serves device[0] and must see guest RAM"),
    "no way": ([served("x")], "device[0].command: no word passes the connection to the process"),
    "two ways": ([served("{socket}", socket="x")], "device[0].command: cannot be combined with socket"),
    "no qcow2": ([{"kind": "virtio-blk", "path": "text", "format": "qcow2"}], "is no qcow2 image"),
    "a serial": (
        [{"kind": "virtio-blk", "path": "disk", "format": "qcow2", "serial": "1"}],
        "device[0].serial: qemu-storage-daemon has no serial numbers",
    ),
    "an overlay": (
        [{"kind": "virtio-blk", "path": "disk", "format": "vmdk", "mode": "overlay"}],
        "device[0].mode: an overlay needs a raw or a qcow2 image",
    ),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_a_spec_cannot_have_is_named(run_guest, tmp_path, case):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("text " * 200)
    (tmp_path / "disk").write_bytes(qcow2.empty(1 << 20))
    devices, said = PROBLEMS[case]
    memory = {"memory": {"backing": "anonymous"}} if case == "private memory" else {}
    with pytest.raises(SpecError) as caught:
        run_guest(HLT, devices=devices, **memory)
    assert said in str(caught.value)


# Disks in formats of their own


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk.qcow2"
    path.write_bytes(qcow2.empty(1 << 30))
    return path


def stored(path, mode="rw", **keys):
    return {"kind": "virtio-blk", "path": str(path), "format": "qcow2", "mode": mode, **keys}


def written():
    """Write a sector, flush, read it."""
    code = start(features=R.BLK_FLUSH) + put(DATA, b"first bytes ") + request(0, 1, 70000, 512)
    return code + request(1, 4, 0) + request(2, 0, 70000, 512, write=True) + show(DATA, 12)


def read_back():
    return start() + request(0, 0, 70000, 512, write=True) + show(DATA, 12)


@need_storage
def test_a_qcow2_image_keeps_what_the_guest_writes(run_driver, disk):
    assert run_driver(written(), stored(disk)).console == bytes(3) + b"first bytes "
    for mode in ("ro", "overlay", "rw"):
        assert run_driver(read_back(), stored(disk, mode)).console == bytes(1) + b"first bytes "
    assert disk.stat().st_size < 1 << 20  # it grows as it is written


@need_storage
def test_an_overlay_leaves_the_image_as_it_is(run_driver, disk):
    before = hashlib.sha256(disk.read_bytes()).digest()
    assert run_driver(written(), stored(disk, "overlay")).console == bytes(3) + b"first bytes "
    assert run_driver(read_back(), stored(disk, "overlay")).console == bytes(13)
    assert hashlib.sha256(disk.read_bytes()).digest() == before


@need_storage
def test_a_disk_that_is_read_only_fails_writes(run_driver, disk):
    result = run_driver(start() + put(DATA, b"x") + request(0, 1, 0, 512), stored(disk, "ro"))
    assert result.console == b"\1"  # an I/O error


@need_storage
def test_an_image_that_another_has_is_refused_by_name(run_driver, disk):
    """qemu-storage-daemon has it, or a vmrun."""
    image = os.open(disk, os.O_RDWR)
    try:
        assert locked(image, writes=True) is None
        with pytest.raises(DeviceError, match=r'^device\[0\]\.path: qemu-storage-daemon .*Failed to get "write" lock'):
            run_driver(b"", stored(disk))
    finally:
        os.close(image)


@need_storage
def test_a_damaged_image_is_refused(run_driver, disk):
    disk.write_bytes(b"QFI\xfb" + bytes(600))
    with pytest.raises(DeviceError, match=r"^device\[0\]\.path: qemu-storage-daemon ended with status 1: .*version 0"):
        run_driver(b"", stored(disk))


def test_without_the_program_the_package_is_named(run_driver, disk, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DeviceError, match=r'^device\[0\]\.format: "qcow2" needs the program qemu-storage-daemon: inst'):
        run_driver(b"", stored(disk))


# Folders


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "file").write_text("contents")
    return path


INIT, LOOKUP = 26, 1


def fuse(number, operation, node, body, room):
    """A request of the file system's protocol; what shows is the length, the error and the number of the answer."""
    header = struct.pack("<IIQQIIII", 40 + len(body), operation, number, node, 0, 0, 0, 0) + body
    code = put(DATA, header) + describe(0, DATA, len(header), 1, 1) + describe(1, ROOM, room, 2)
    return code + at(number - 1, queue=1) + await_word(USED + 2, number) + show(ROOM, 16)


@need_virtiofsd
def test_a_folder_answers(run_driver, folder):
    code = start(index=1) + fuse(1, INIT, 0, struct.pack("<IIII", 7, 31, 65536, 0), 128)
    code += fuse(2, LOOKUP, 1, b"file\0", 256) + show(ROOM + 16 + 40 + 8, 8)  # the file's size
    code += fuse(3, LOOKUP, 1, b"none\0", 256)
    result = run_driver(code, FS | {"path": str(folder)})
    assert result.kind == "halt", result.detail
    answers = result.console
    assert struct.unpack("<IiQ", answers[:16])[1:] == (0, 1)
    assert struct.unpack("<IiQ", answers[16:32])[1:] == (0, 2)
    assert struct.unpack("<Q", answers[32:40]) == (8,)
    assert struct.unpack("<IiQ", answers[40:56])[1:] == (-2, 3)


@need_virtiofsd
@pytest.mark.parametrize("name", ["with,comma", "with\\backslash"])
def test_a_name_that_virtiofsd_cannot_take(run_driver, tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(DeviceError, match=r"^device\[0\]\.path: .*virtiofsd takes no path with a comma or a backslash"):
        run_driver(b"", FS | {"path": name})


def test_without_virtiofsd_the_package_is_named(run_driver, folder, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(virtiofsd, "PLACES", ())
    with pytest.raises(DeviceError, match=r"^device\[0\]: a shared folder needs the program virtiofsd: install the"):
        run_driver(b"", FS | {"path": str(folder)})
