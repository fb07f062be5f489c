"""Runs leave nothing behind: descriptors, threads, mappings, files."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.fakes.processes import eventually

pytestmark = pytest.mark.kvm

ROOT = Path(__file__).parents[2]
CODE = "b0 41 e6 e9 e4 80 f4"
ALL = {
    "devices": [
        *({"kind": "serial", "input": "input"}, {"kind": "debug-port"}, {"kind": "rtc"}),
        {"kind": "virtio-blk", "path": "input", "mode": "ro", "notify": "ioeventfd"},
        {"kind": "virtio-blk", "path": "input", "mode": "ro", "notify": "ioeventfd", "transport": "pci"},
    ],
    "vm": {"vcpus": 2},
    "trace": {"ring": 1024},
}
MANY = pytest.param(200, marks=pytest.mark.soak, id="200")


def held():
    """What this process holds: descriptors, threads, mappings of files and devices."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    # Anonymous memory comes and goes with the allocators' arenas.
    named = sorted(line.split(maxsplit=5)[5] for line in maps if len(line.split()) == 6)
    names = sorted(str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink())
    return names, sorted(thread.name for thread in threading.enumerate()), named


def mappings():
    return len(Path("/proc/self/maps").read_text().splitlines())


@pytest.mark.parametrize("runs", [20, MANY])
def test_runs_in_one_process(write_spec, tmp_path, runs):
    from runner.session.session import run

    (tmp_path / "input").write_bytes(bytes(512))
    spec = write_spec(CODE, **ALL)
    for _ in range(3):  # what is imported and allocated once
        run(spec)
    before, count, files = held(), mappings(), sorted(tmp_path.iterdir())
    for _ in range(runs):
        assert run(spec).status == 0
    assert held() == before
    assert mappings() <= count + 10  # a run has more of its own
    assert sorted(tmp_path.iterdir()) == files


def test_a_run_shows_in_what_is_held(write_spec, tmp_path):
    """The test above can fail: during a run there is more."""
    from runner.session.session import run

    (tmp_path / "input").write_bytes(bytes(512))
    spec = write_spec("eb fe", **ALL | {"vm": {"timeout": "500ms"}})
    seen = []
    timer = threading.Timer(0.25, lambda: seen.append(held()))
    before = held()
    timer.start()
    run(spec)
    timer.join()
    assert all(len(now) > len(then) for now, then in zip(seen[0], before, strict=True))


@pytest.mark.parametrize("runs", [3, MANY])
def test_runs_as_processes(write_spec, tmp_path, runs):
    (tmp_path / "input").write_bytes(bytes(512))
    spec = write_spec(CODE, **ALL)
    command = [sys.executable, "-m", "runner.cli", str(spec)]
    shared, temporary = set(Path("/dev/shm").iterdir()), None
    for _ in range(runs):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert (done.returncode, done.stdout) == (0, "AA"), done.stderr
        files = {path.name for path in tmp_path.iterdir()}
        assert files == (temporary or files)
        temporary = files
    assert files == {"guest.toml", "guest.arrow", "guest.requests.arrow", "input"}
    # What others have there for a moment is theirs.
    eventually(lambda: set(Path("/dev/shm").iterdir()) <= shared, "something was left in /dev/shm")
