"""The watchdog of virtual time, looking at a vCPU that these tests move."""

from types import SimpleNamespace

import pytest

from runner.machine.watchdog import MOST, Watchdog

SECOND = 10**9


class Machine:
    """A machine whose time passes by the watchdog's own waits."""

    def __init__(self, limit=8 * SECOND):
        self.now, self.wait, self.exits, self.returns, self.kicks = 0, None, 5, 0, 0
        self.in_guest, self.runs, self.returning = True, True, True
        self.endings = []
        self.watchdog = Watchdog(
            limit,
            SimpleNamespace(after=self.after),
            SimpleNamespace(monotonic=lambda: self.now),
            self,
            self,
            lambda: self.returns,
            lambda: self.runs,
            self.endings.append,
        )

    @property
    def counts(self):
        return [self.exits - 2, 2]

    def after(self, seconds, due):
        self.wait = seconds

    def kick(self):
        self.kicks += 1
        self.returns += self.returning

    def looks(self, seconds):
        """Let time pass; returns when the run was ended."""
        latest = self.now + seconds * SECOND
        while self.now < latest and not self.endings:
            self.watchdog.look()
            self.now += round(self.wait * SECOND)
        return self.now // SECOND


def test_a_guest_without_exits_is_ended():
    machine = Machine()
    assert machine.looks(60) == 10  # a kick at 8, seen at the next look
    [ending] = machine.endings
    assert (ending.kind, machine.kicks) == ("spun", 1)
    assert ending.detail.startswith("the guest made no exit for 8 s after its 5 exits")


@pytest.mark.parametrize("away", [{"in_guest": False}, {"runs": False}, {"returning": False}])
def test_one_that_waits_elsewhere_is_not(away):
    """For its devices or input; in a pause; in a KVM_RUN that does not return."""
    machine = Machine()
    vars(machine).update(away)
    machine.looks(100)
    assert machine.endings == []
    vars(machine).update(in_guest=True, runs=True, returning=True)
    machine.returns += 1
    machine.looks(100)
    assert [ending.kind for ending in machine.endings] == ["spun"]


def test_each_exit_begins_the_time_anew():
    machine = Machine()
    for _ in range(20):
        machine.looks(7)
        machine.exits += 1
    assert (machine.endings, machine.kicks) == ([], 0)


def test_an_exit_after_the_kick_counts():
    machine = Machine()
    machine.looks(9)
    assert machine.kicks == 1
    machine.exits += 1
    machine.looks(7)
    assert machine.endings == []


@pytest.mark.parametrize(("limit", "wait"), [(SECOND // 5, 0.05), (3600 * SECOND, MOST)])
def test_it_looks_often_enough(limit, wait):
    machine = Machine(limit)
    machine.watchdog.look()
    assert machine.wait == wait
