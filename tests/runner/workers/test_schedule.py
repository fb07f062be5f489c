"""Which runs go beside each other, with an executor that ends them when it is told to."""

from concurrent.futures import Executor, Future

from hypothesis import given
from hypothesis import strategies as st

from runner.workers import schedule
from runner.workers.schedule import Demand, Order, completed, demand
from vmspec import loads

A, B = (1, 1), (1, 2)


class Held(Executor):
    """Ends the oldest run whenever the scheduler waits, and keeps what ran at the same time."""

    def __init__(self):
        self.running, self.together = {}, []

    def submit(self, function, task):
        future = Future()
        self.running[future] = task
        self.together.append(list(self.running.values()))
        return future

    def wait(self, futures, return_when):
        first = next(iter(self.running))
        first.set_result(self.running.pop(first))
        return type("Done", (), {"done": [first]})


def made(monkeypatch, demands, most, room):
    held = Held()
    monkeypatch.setattr(schedule, "wait", held.wait)
    orders = (Order(number, (number,), one) for number, one in enumerate(demands))
    ended = [key for key, future in completed(held, abs, orders, most, room)]
    return ended, held.together


def test_as_many_as_asked(monkeypatch):
    ended, together = made(monkeypatch, [Demand()] * 5, 2, 100)
    assert (sorted(ended), max(map(len, together))) == ([0, 1, 2, 3, 4], 2)


def test_no_more_vcpus_than_processors_but_a_larger_run_alone(monkeypatch):
    demands = [Demand(vcpus) for vcpus in (1, 4, 2, 1)]
    ended, together = made(monkeypatch, demands, 10, 2)
    assert sorted(ended) == [0, 1, 2, 3]
    assert all(len(some) == 1 or sum(demands[one].vcpus for one in some) <= 2 for some in together)
    assert [0, 3] in together  # a run that fits does not wait for one that does not


def test_runs_that_write_what_others_use_are_made_one_after_another(monkeypatch):
    writes, reads = Demand(1, frozenset(), frozenset([A])), Demand(1, frozenset([A]), frozenset())
    _, together = made(monkeypatch, [writes, writes, reads, reads, Demand(1, frozenset([B]), frozenset())], 10, 10)
    assert [0, 4] in together
    assert [2, 3] in together
    assert not [some for some in together if {0, 1} & {*some} and len({*some} - {4}) > 1]


@given(st.lists(st.integers(1, 9), max_size=100), st.integers(1, 5), st.integers(1, 9))
def test_every_run_is_made_once(vcpus, most, room):
    import pytest

    with pytest.MonkeyPatch.context() as patch:
        ended, together = made(patch, map(Demand, vcpus), most, room)
    assert sorted(ended) == [*range(len(vcpus))]
    assert all(len(some) <= most for some in together)


def test_the_demand_of_a_spec_is_its_vcpus_and_files_but_not_its_trace(tmp_path):
    spec = loads(
        '[vm]\nname = "x"\nvcpus = 3\n[boot]\nmode = "real"\nkernel = "k"\n[trace]\npath = "x.arrow"\n'
        '[[device]]\nkind = "serial"\noutput = "log"\ninput = "none"\n',
        tmp_path,
    )
    found = demand(spec)
    assert (found.vcpus, len(found.reads), len(found.writes)) == (3, 1, 1)
    assert not found.beside(found)
    assert found.beside(Demand(1, found.reads, frozenset()))
