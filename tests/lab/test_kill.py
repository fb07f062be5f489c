"""Boots whose vmrun was killed with SIGKILL at a random moment: its recorder has closed the trace, with all that was
recorded."""

import pytest

from tests.lab.labruns import KILLS

pytestmark = [pytest.mark.lab, pytest.mark.stay("linux")]

CASES = [
    pytest.param((group, number), id=f"{group}-{number}", marks=[pytest.mark.soak] if group == "kills" else [])
    for group, count in KILLS.items()
    for number in range(count)
]


@pytest.fixture(params=CASES)
def killed(request, lab):
    """A killed run."""
    group, number = request.param
    return lab.run(group, f"kill-{number}")


def test_the_trace_is_closed(killed):
    assert (killed.status, killed.trace.complete, killed.trace.summary["result"]) == (
        -9, True, {"kind": "killed", "status": None},
    )  # fmt: skip
    left = {path.name for path in killed.path.parent.glob("trace.*")}
    assert left == {"trace.arrow"}


def test_every_record_is_there_once(killed):
    rows = killed.trace.table.select(["vcpu", "seq"]).to_pydict()
    numbers = [[seq for vcpu, seq in zip(rows["vcpu"], rows["seq"], strict=True) if vcpu == n] for n in range(2)]
    assert numbers == [list(range(count)) for count in killed.trace.summary["rows"]]


def test_at_most_the_exit_at_hand_is_missing(killed):
    rows = killed.trace.summary["rows"]
    # The kernel's counts of returns; a vCPU that made none is counted nowhere.
    returned = sorted(sum(exits.values()) for exits in killed.exits.values())
    returned = [0] * (len(rows) - len(returned)) + returned
    assert [count - row in (0, 1) for count, row in zip(returned, sorted(rows), strict=True)] == [True, True]


def test_what_the_console_showed_is_in_it(killed):
    # The byte of the exit at hand of each vCPU may have been shown already.
    recorded = killed.trace.console()
    assert killed.console[: len(recorded)] == recorded[: len(killed.console)]
    assert len(killed.console) <= len(recorded) + 2
