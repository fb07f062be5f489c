"""Where a campaign's runs are made, and how many at once."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import NamedTuple

from runner.campaign.runs import Digests, FactsOf, Machine
from runner.session import hostfacts
from runner.workers.pool import Workers
from runner.workers.schedule import processors


class Site(NamedTuple):
    """``facts`` are those of the hosts. ``executor`` makes an executor for runs of some machines, which has a method
    ``stop`` that ends what it runs. It gets at most ``most`` runs at once, with ``room`` vCPUs in all."""

    facts: FactsOf
    executor: Callable[[Sequence[Machine], Digests], "Workers | Stoppable"]
    most: int
    room: int


class Stoppable(Executor):
    """An executor whose runs can be ended."""

    @abstractmethod
    def stop(self) -> None:
        """End what runs, as by Ctrl-C, and cancel the rest."""


@contextmanager
def here(jobs: int | None) -> Iterator[Site]:
    """Processes of this host."""
    room = processors()
    yield Site(hostfacts.facts, lambda machines, digests: Workers(jobs or room), jobs or room, room)
