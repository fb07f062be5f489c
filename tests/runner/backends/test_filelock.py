"""Locks on disk images, of the same process and of others."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runner.backends.filelock import locked

HOLD = """
import os, sys
from runner.backends.filelock import locked
writes = sys.argv[2] == "rw"
fd = os.open(sys.argv[1], os.O_RDWR if writes else os.O_RDONLY)
print(locked(fd, writes), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(512))
    return path


@pytest.fixture
def take(image):
    """Open the image and lock it: returns who has it."""
    opened = []

    def take(mode):
        descriptor = os.open(image, os.O_RDWR if mode == "rw" else os.O_RDONLY)
        holder = locked(descriptor, mode == "rw")
        if holder is None:
            opened.append(descriptor)
        else:
            os.close(descriptor)
        return holder

    yield take
    for descriptor in opened:
        os.close(descriptor)


EXCLUDE = [("rw", "rw", True), ("rw", "ro", True), ("ro", "rw", True), ("ro", "ro", False)]


@pytest.mark.parametrize(("one", "other", "excluded"), EXCLUDE)
def test_users_of_the_same_process(take, one, other, excluded):
    assert take(one) is None
    comm = Path("/proc/self/comm").read_text().strip()
    assert take(other) == (f"{comm}, pid {os.getpid()}" if excluded else None)


@pytest.mark.parametrize(("one", "other", "excluded"), EXCLUDE)
def test_another_process_is_named_and_its_lock_ends_with_it(image, take, one, other, excluded):
    command = [sys.executable, "-c", HOLD, image, one]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "None\n"
        name = Path(f"/proc/{holder.pid}/comm").read_text().strip()
        assert take(other) == (f"{name}, pid {holder.pid}" if excluded else None)
        holder.kill()
        holder.communicate()
    assert take(one) is None


def test_another_programs_exclusive_lock_counts(image, take):
    descriptor = os.open(image, os.O_RDWR)
    fcntl.lockf(descriptor, fcntl.LOCK_EX)
    code = f"import os; from runner.backends.filelock import locked; print(locked(os.open({str(image)!r}, 0), False))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    os.close(descriptor)
    assert done.stdout.endswith(f"pid {os.getpid()}\n")


@pytest.mark.skipif(shutil.which("qemu-io") is None, reason="qemu-io is missing (Debian: qemu-utils)")
@pytest.mark.parametrize(("mode", "asked", "refused"), [
    ("rw", [], True), ("rw", ["-r"], False), ("ro", [], True), ("ro", ["-r"], False),
])  # fmt: skip
def test_qemu_respects_the_locks(image, take, mode, asked, refused):
    """A tool of QEMU's that only reads raw bytes lets others write (blk_new_open() in block/block-backend.c), so it
    reads beside a writer of QEMU's too."""
    assert take(mode) is None
    command = ["qemu-io", "-f", "raw", *asked, "-c", "read 0 512", image]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ("Failed to get" in done.stdout + done.stderr) == refused, done.stdout + done.stderr
