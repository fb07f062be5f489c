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


GENERATION = [{"kind": "acpi"}, {"kind": "vmgenid"}]


@pytest.fixture
def generations(write_spec, assemble, tmp_path):
    """The generation IDs of a machine's copies, and of runs from its snapshot, by what is changed in them."""
    file = tmp_path / "snapshot"

    def of(run):
        return run._session.machine.plan.device("vmgenid").options["generation"]

    def found(vm, restored):
        spec = write_spec(assemble("1: out %al, $0x80; jmp 1b"), vm=vm, devices=GENERATION)
        with runner.start(spec, record=False) as run:
            assert of(run) == "0" * 32
            copies = [runner.fork(run, 2, seed=seed) for seed in (1, 1, 2)]
            run.snapshot(file)
            forked = [[of(copy) for copy in each] for each in copies]
            (again,) = runner.fork(copies[0][0], 1, seed=1)
            grandchild = of(again)
            again.stop()
            for copy in (copy for each in copies for copy in each):
                copy.stop()
        after = []
        for overrides in restored:
            with runner.start(file, restore=True, overrides=overrides) as run:
                after.append(of(run))
        return forked, after, grandchild

    return found


def test_copies_and_later_runs_have_generations_of_their_own(generations):
    own = "device[1].generation='00112233445566778899AABBCCDDEEFF'"
    forked, (one, other, chosen), grandchild = generations({"timeout": "60s"}, [(), (), (own,)])
    assert forked[0] == forked[1]
    assert forked[0][1] == forked[2][0]  # copy n has the seed + n
    assert len({*forked[0], *forked[2], one, other, "0" * 32}) == 6
    assert grandchild not in forked[0]
    assert chosen == "00112233445566778899AABBCCDDEEFF"


def test_with_virtual_time_all_runs_from_a_snapshot_have_one_generation(generations):
    _, (one, other), _ = generations({"timeout": "60s", "time": "virtual"}, [(), ()])
    assert one == other != "0" * 32
