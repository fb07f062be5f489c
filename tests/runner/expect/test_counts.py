from runner.expect.ended import unmet
from vmspec.plan.settings import PlannedExpect, PlannedLimit, PlannedVerdict

COUNTERS = {"io": 3, "mmio": 2, "dropped": 7}


def sentences(*limits, kind="halt", **expect):
    expect = PlannedExpect(limits=tuple(PlannedLimit("expect.x", *limit) for limit in limits), **expect)
    return [str(one) for one in unmet(expect, kind, None, {"p": b"no"}, COUNTERS)]


def test_limits_that_are_reached():
    assert sentences(("exits", 5), ("reason", 3, "io"), ("reason", 0, "hlt")) == []


def test_limits_that_are_exceeded_by_one():
    assert sentences(("exits", 4), ("reason", 2, "io"), ("reason", 1, "mmio")) == [
        "expect.x: expected at most 4 exits; 5 came",
        "expect.x: expected at most 2 io exits; 3 came",
        "expect.x: expected at most 1 mmio exit; 2 came",
    ]


def test_limits_that_the_trace_shows_are_not_looked_at():
    assert sentences(("device", 0, "io"), ("guest", 0), ("line", 0, "x")) == []


def test_the_end_comes_before_ports_and_limits():
    verdict = PlannedVerdict("expect.ports.p", "p", "virtio-console0.p", "ok")
    assert sentences(("exits", 4), kind="reset", exit=("halt",), ports=(verdict,)) == [
        "expect.exit: expected the end halt; the guest ended with reset",
        "expect.ports.p: expected the line 'ok' as the last on the port p; it is 'no'",
        "expect.x: expected at most 4 exits; 5 came",
    ]
