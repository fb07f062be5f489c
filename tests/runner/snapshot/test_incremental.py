"""Snapshots that have only what differs from an earlier one."""

import random
import shutil
from contextlib import closing
from unittest.mock import Mock

import pytest

import runner
from runner.cli import main
from runner.snapshot.chain import Chain
from runner.snapshot.errors import SnapshotError
from runner.snapshot.snapshotfile import Snapshot

pytestmark = pytest.mark.kvm

SPINS = "1: jmp 1b"
PAGE = 4096
SIZE = 8 << 20
FIRST = 1 << 20  # of the memory that the guest does not touch
DISK = 1 << 20


@pytest.fixture(autouse=True)
def _sockets(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def spec(write_spec, assemble, tmp_path):
    """A guest that only runs, with a disk whose contents the test changes in its place."""
    (tmp_path / "disk.img").write_bytes(random.Random(1).randbytes(DISK))
    disk = {"kind": "virtio-blk", "path": str(tmp_path / "disk.img"), "mode": "overlay"}
    return write_spec(assemble(SPINS), vm={"memory": "8MiB", "timeout": "60s"}, devices=[disk])


def changed(run, rng):
    """Change pages of the memory and sectors of the disk, some of them to zeros."""
    machine = run._session.machine
    for _ in range(rng.randrange(1, 40)):
        at = rng.randrange(FIRST // PAGE, SIZE // PAGE) * PAGE + rng.randrange(PAGE - 8)
        machine.memory.write(at, rng.choice((bytes(8), rng.randbytes(8))))
    if rng.random() < 0.3:
        at = rng.randrange(FIRST // PAGE, SIZE // PAGE // 2) * PAGE
        machine.memory.write(at, bytes(rng.randrange(1, 3 << 20)))
    (private,) = machine.private.values()
    for _ in range(rng.randrange(4)):
        count = rng.randrange(1, 20)
        sectors = rng.choice((bytes(512), rng.randbytes(512))) * count
        private.take_back(512 * rng.randrange(DISK // 512 - count), sectors)


def state(run):
    """The memory that only the test changes, and what is on the disk."""
    machine = run._session.machine
    (private,) = machine.private.values()
    disk = bytearray(DISK)
    for at, data in private.changes():
        disk[at : at + len(data)] = data
    return machine.memory.read(FIRST, SIZE - FIRST), bytes(disk)


def paused(path):
    run = runner.start(path, restore=True)
    assert run.pause()
    return run


@pytest.mark.parametrize("seed", range(2))
def test_each_of_a_chain_is_the_machine_as_it_was(spec, tmp_path, seed):
    rng, files, states = random.Random(seed), [tmp_path / f"{number}.snapshot" for number in range(5)], []
    with runner.start(spec, record=False) as run:
        run.pause()
        for number, file in enumerate(files):
            changed(run, rng)
            states.append(state(run))
            assert run.snapshot(file, base=files[rng.randrange(number)] if number else None)
    folder = tmp_path / "elsewhere"  # where they are together
    folder.mkdir()
    for file in files:
        shutil.move(file, folder)
    for file, then in zip(files, states, strict=True):
        with paused(folder / file.name) as run:
            assert state(run) == then
            changed(run, rng)
            now = state(run)
            assert run.snapshot(tmp_path / "next", base=folder / file.name)
        with paused(tmp_path / "next") as run:
            assert state(run) == now


def test_only_pages_that_differ_are_in_it(spec, tmp_path):
    base, next_ = tmp_path / "base", tmp_path / "next"
    with runner.start(spec, record=False) as run:
        machine = run._session.machine
        run.pause()
        machine.memory.write(FIRST, b"\1" * (4 << 20))
        (private,) = machine.private.values()
        private.take_back(0, b"\2" * (DISK // 2))
        run.snapshot(base)
        machine.memory.write(FIRST + 5 * PAGE, b"\3")
        machine.memory.write(FIRST + 9 * PAGE, bytes(2 * PAGE))
        private.take_back(8192, b"\4" * 512)
        private.take_back(8704, b"\2" * 512)  # as it was
        run.snapshot(next_, base=base)
    snapshot = Snapshot(next_)
    parts = [(extent.address, extent.size) for extent in snapshot.contents.memory]
    disk = [(extent.address, extent.size) for extent in snapshot.contents.written[0].extents]
    snapshot.close()
    assert parts == [(FIRST + 5 * PAGE, PAGE), (FIRST + 9 * PAGE, 2 * PAGE)]
    assert disk == [(8192, PAGE)]


@pytest.fixture
def pair(spec, tmp_path):
    """A snapshot and its base."""
    base, upon = tmp_path / "base", tmp_path / "upon"
    with runner.start(spec, record=False) as run:
        run.pause()
        run._session.machine.memory.write(FIRST, b"\1")
        run.snapshot(base)
        run._session.machine.memory.write(FIRST, b"\2")
        run.snapshot(upon, base=base)
    return base, upon


def test_without_its_base_it_is_refused(pair, capfd):
    base, upon = pair
    base.rename(base.with_name("other"))
    assert main(["--restore", str(upon)]) == 2
    said = capfd.readouterr().err
    assert f"{upon} is based on another snapshot, which is neither beside it nor where it was: {base} cannot be" in said


def test_with_another_base_it_is_refused(pair, spec):
    base, upon = pair
    with runner.start(spec, record=False) as run:
        run.snapshot(base)
    with pytest.raises(SnapshotError, match=f"{upon} is based on .* nor where it was: {base} is another one"):
        runner.run(upon, restore=True)


def test_a_base_in_another_folder_may_have_the_same_name_and_be_a_link(spec, tmp_path):
    for day in ("mon", "tue"):
        (tmp_path / day).mkdir()
    base, upon, link = tmp_path / "mon" / "count", tmp_path / "tue" / "count", tmp_path / "latest"
    link.symlink_to(base)
    with runner.start(spec, record=False) as run:
        run.snapshot(base)
        run.snapshot(upon, base=link)
    link.unlink()
    with runner.start(upon, restore=True) as run:
        assert run.pause()


def test_a_chain_ends_before_it_is_too_long(spec, tmp_path, monkeypatch):
    monkeypatch.setattr("runner.snapshot.taking.MOST", 2)
    files = [tmp_path / str(number) for number in range(3)]
    with runner.start(spec, record=False) as run:
        run.snapshot(files[0])
        run.snapshot(files[1], base=files[0])
        with pytest.raises(SnapshotError, match=f"{files[1]} is the last of a chain of 2 snapshots"):
            run.snapshot(files[2], base=files[1])


def test_the_end_of_the_run_does_not_wait_for_a_base_to_be_read(spec, tmp_path):
    with runner.start(spec, record=False) as run:
        run.snapshot(tmp_path / "base")
    with closing(Chain(tmp_path / "base")) as chain, pytest.raises(SnapshotError, match="the run has ended"):
        chain.check(Mock(side_effect=SnapshotError("the run has ended")))


def test_a_base_with_writes_of_another_run_is_refused(spec, tmp_path):
    """Memory is compared whole, but an overlay does not say what it has not written."""
    base, upon = tmp_path / "base", tmp_path / "upon"
    with runner.start(spec, record=False) as run:
        run.pause()
        run._session.machine.private["virtio-blk0"].take_back(8192, b"1" * 4096)
        run.snapshot(base)
    with runner.start(spec, record=False) as run:
        run.pause()
        private = run._session.machine.private["virtio-blk0"]
        private.take_back(0, b"2" * 8704)
        with pytest.raises(SnapshotError, match=f"{base} cannot be its base: virtio-blk0 has writes there"):
            run.snapshot(upon, base=base)
        private.take_back(8704, b"2" * 4096)
        assert run.snapshot(upon, base=base)
        now = state(run)
    with paused(upon) as run:
        assert state(run) == now


def test_a_damaged_base_is_refused(pair, tmp_path):
    base, upon = pair
    data = bytearray(base.read_bytes())
    data[data.index(b"\1" + bytes(100))] = 7
    base.write_bytes(data)
    with pytest.raises(SnapshotError, match=rf"{base} is damaged: the CRC-32 of the part for 0x0 is wrong"):
        runner.run(upon, restore=True)
    with (
        runner.start(tmp_path / "guest.toml", record=False) as run,
        pytest.raises(SnapshotError, match=f"{base} is damaged"),
    ):
        run.snapshot(tmp_path / "x", base=base)


def test_what_cannot_be_a_base_is_said(pair, spec, write_spec, assemble, tmp_path):
    base, upon = pair
    before = base.read_bytes(), upon.read_bytes()
    larger = write_spec(assemble(SPINS), vm={"memory": "16MiB", "timeout": "60s"})
    with runner.start(larger, record=False) as run:
        with pytest.raises(SnapshotError, match="is a snapshot of another machine: it has other memory"):
            run.snapshot(tmp_path / "x", base=base)
        with pytest.raises(SnapshotError, match="is not a snapshot of vmrun"):
            run.snapshot(tmp_path / "x", base=spec)
    with runner.start(upon, restore=True) as run:
        for each in pair:
            with pytest.raises(SnapshotError, match="would replace the snapshot that it is based on"):
                run.snapshot(each, base=upon)
    assert not (tmp_path / "x").exists()
    assert (base.read_bytes(), upon.read_bytes()) == before


def test_by_the_command(spec, tmp_path, capfd):
    base, upon = tmp_path / "base", tmp_path / "upon"
    with runner.start(spec, record=False, control="guest"):
        assert main(["snapshot", "guest", str(base)]) == 0
        assert main(["snapshot", "guest", str(upon), "--base", str(base)]) == 0
    assert f"{upon}: " in capfd.readouterr().out
    assert Snapshot(upon).contents.base.path == str(base)
    with runner.start(upon, restore=True) as run:
        assert run.pause()
