"""Boots that were killed with SIGKILL at a random moment: what was recorded can be had."""

import json
import shutil

import pytest

import tracer
from tests.lab.labruns import KILLS
from tracer.read.ringfile import RingFile

pytestmark = pytest.mark.lab

CASES = [
    pytest.param((group, number), id=f"{group}-{number}", marks=[pytest.mark.soak] if group == "kills" else [])
    for group, count in KILLS.items()
    for number in range(count)
]


@pytest.fixture(params=CASES)
def killed(request, lab, tmp_path):
    """A killed run, the records that each vCPU had published when it died, and the recovered trace."""
    group, number = request.param
    run = lab.run(group, f"kill-{number}")
    for path in run.path.parent.glob("trace.*"):
        shutil.copy(path, tmp_path)
    with RingFile(tmp_path / "trace.ring") as rings:
        heads = [ring.control["head"] for ring in rings.rings]
    recovered = tracer.recover(tmp_path / "trace.arrow")
    print(json.dumps({"status": run.status, "heads": heads, "problems": recovered.problems}))
    return run, heads, tracer.load(recovered.path)


def test_every_published_record_is_recovered(killed):
    run, heads, trace = killed
    assert run.status == -9
    rows = trace.table.select(["vcpu", "seq"]).to_pydict()
    numbers = [[seq for vcpu, seq in zip(rows["vcpu"], rows["seq"], strict=True) if vcpu == n] for n in range(2)]
    assert [sorted(each) for each in numbers] == [list(range(head)) for head in heads]


def test_at_most_the_exit_at_hand_is_missing(killed):
    run, heads, _ = killed
    # The kernel's counts of returns; a vCPU that made none is counted nowhere.
    returned = sorted(sum(exits.values()) for exits in run.exits.values())
    returned = [0] * (len(heads) - len(returned)) + returned
    assert [count - head in (0, 1) for count, head in zip(returned, sorted(heads), strict=True)] == [True, True]


def test_a_killed_run_is_not_complete(killed):
    assert not killed[2].complete


def test_what_the_console_showed_is_recovered(killed):
    run, _, trace = killed
    # The byte of the exit at hand of each vCPU may have been shown already.
    recovered = trace.console()
    assert run.console[: len(recovered)] == recovered[: len(run.console)]
    assert len(run.console) <= len(recovered) + 2
