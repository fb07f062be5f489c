"""Folders that exist during a block, and those that killed processes left."""

import fcntl
import os
import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest

from vmspec.host import scratch as module
from vmspec.host.scratch import discard, lock, scratch

HOLDER = """
import sys, time
from pathlib import Path
from vmspec.host.scratch import scratch
with scratch(Path(sys.argv[1]), "work-") as folder:
    (folder / "file").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that is in such a block."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        yield process, process.stdout.readline().strip()
        process.kill()


@pytest.mark.parametrize("fails", [False, True])
def test_it_is_the_users_own_and_ends_with_the_block(tmp_path, fails):
    with pytest.raises(ValueError, match="no") if fails else ExitStack(), scratch(tmp_path, "work-") as folder:
        assert (folder.parent, folder.name[:5], folder.stat().st_mode & 0o777) == (tmp_path, "work-", 0o700)
        (folder / "file").write_text("x")
        if fails:
            raise ValueError("no")
    assert [*tmp_path.iterdir()] == []


def test_the_block_may_move_it_away(tmp_path):
    with scratch(tmp_path, "work-") as folder:
        folder.rename(tmp_path / "kept")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_no_descriptor_stays_open(tmp_path):
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    with scratch(tmp_path, "work-") as folder, ExitStack() as stack:
        assert not lock(tmp_path / "none", stack, fcntl.LOCK_SH)
        assert not lock(folder, stack, fcntl.LOCK_SH, wait=False)
        assert not discard(folder)
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


def test_that_of_a_killed_process_is_removed_by_the_next(tmp_path, holder):
    process, left = holder
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert os.path.exists(left)  # noqa: PTH110
    with scratch(tmp_path, "work-") as folder:
        assert [*tmp_path.iterdir()] == [folder]


def test_that_of_a_running_process_stays(tmp_path, holder):
    _, left = holder
    with scratch(tmp_path, "work-") as folder:
        assert {str(path) for path in tmp_path.iterdir()} == {left, str(folder)}
    assert [str(path) for path in tmp_path.iterdir()] == [left]


def test_what_is_no_folder_of_the_users_stays(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    assert not discard(tmp_path / "file")
    assert not discard(tmp_path / "link")
    monkeypatch.setattr("os.getuid", lambda: 12345)
    assert not discard(tmp_path / "folder")
    assert (tmp_path / "folder").is_dir()


def test_a_folder_that_another_process_removes_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    made = []

    def mkdtemp(**where):
        made.append(os.path.join(tmp_path, f"work-{len(made)}"))  # noqa: PTH118
        if len(made) > 1:
            os.mkdir(made[-1])  # noqa: PTH102
        return made[-1]

    monkeypatch.setattr(module, "mkdtemp", mkdtemp)
    with scratch(tmp_path, "work-") as folder:
        assert str(folder) == made[1]


def test_a_folder_that_was_replaced_is_not_locked(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    real = fcntl.flock

    def flock(descriptor, how):
        real(descriptor, how)
        (tmp_path / "a").rmdir()
        (tmp_path / "b").rename(tmp_path / "a")

    monkeypatch.setattr("fcntl.flock", flock)
    with ExitStack() as stack:
        assert not lock(tmp_path / "a", stack, fcntl.LOCK_SH)
