"""Copies of machines that run."""

import random
import time

import pytest

import runner
import tracer
from tests.fakes.flatdriver import HLT
from tests.fakes.processes import eventually
from tests.runner.replay import devicesguests
from tests.runner.test_pause import COUNT, counter

pytestmark = pytest.mark.kvm


def test_each_copy_goes_on_by_itself(write_spec, assemble, descriptors):
    code = assemble(COUNT.replace("in %dx, %al", "xor %al, %al"))
    before = descriptors()
    with runner.start(write_spec(code, vm={"memory": "4MiB", "timeout": "60s"}), record=False) as run:
        eventually(lambda: counter(run) > 0, "it does not count")
        copies = runner.fork(run, 5)
        assert not run.paused
        try:
            for copy in (run, *copies):
                at = counter(copy)
                eventually(lambda copy=copy, at=at: counter(copy) > at, "it stands still")
            copies[0].pause()
            at = counter(copies[0])
            eventually(lambda: counter(copies[1]) > at + 1000, "it stands still with another one")
            assert counter(copies[0]) == at
        finally:
            for copy in copies:
                copy.stop()
                assert copy.result(30).kind == "interrupted"
    eventually(lambda: descriptors() <= before, "descriptors were left")


def given(trace):
    """What the guest got last of the entropy device: it shows that at a port, and then the used ring."""
    rows = tracer.load(trace).table.to_pylist()
    shown = [row["data"] for row in rows if row["addr"] == devicesguests.SHOWN]
    return shown[-15 - devicesguests.RING // 4 : -devicesguests.RING // 4]


def test_each_copy_has_its_own_seed(write_spec, tmp_path):
    code = devicesguests.random_bytes([60] * 40) + HLT
    rng = {"kind": "virtio-rng", "seed": 7}
    vm = devicesguests.VIRTUAL | {"memory": "1MiB"}
    spec = write_spec(code, boot={"mode": "protected"}, vm=vm, devices=[rng])

    def forked(name, seed):
        with runner.start(spec, overrides=(f"trace.path={tmp_path / name}.arrow",)) as run:
            time.sleep(0.002 * random.random())
            run.pause()
            if run._session.machine.state != "paused":
                return None
            copies = runner.fork(run, 3, seed=seed, overrides=lambda n: (f"trace.path={tmp_path / name}-{n}.arrow",))
            return [given(copy.result(60).trace) for copy in copies]

    first = second = None
    while not (first and second):  # unless a run had ended
        first, second = forked("first", 100), forked("second", 101)
    # The copies of two runs were made at other moments, but end with what the same seeds give.
    assert first[1] == second[0]
    assert len({tuple(each) for each in first}) == 3


def test_a_disk_that_copies_would_share_is_refused(write_spec, assemble, tmp_path):
    (tmp_path / "disk.img").write_bytes(bytes(1 << 16))
    disk = {"kind": "virtio-blk", "path": str(tmp_path / "disk.img")}
    code = assemble(COUNT.replace("in %dx, %al", "xor %al, %al"))
    spec = write_spec(code, vm={"timeout": "60s"}, devices=[disk])
    with (
        runner.start(spec, record=False) as run,
        pytest.raises(runner.SnapshotError, match="copies would all write to"),
    ):
        runner.fork(run, 2)


def test_an_ended_run_is_refused(write_spec):
    with runner.start(write_spec("f4"), record=False) as run:
        run.result(30)
        with pytest.raises(runner.SnapshotError, match="the run has ended"):
            runner.fork(run, 1)
