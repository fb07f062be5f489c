"""Which runs execute at once: at most the requested number, with at most as many vCPUs as the host has processors, and
none that writes to a file that another one uses."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

from vmspec.plan.plan import Plan
from vmspec.spec import fileuse
from vmspec.spec.models import Spec

Key = TypeVar("Key")
Made = TypeVar("Made")
AHEAD = 64  # runs that are looked at for one that fits


class Demand(NamedTuple):
    """What a run takes: vCPUs, and files, by what their paths lead to."""

    vcpus: int = 1
    reads: frozenset[fileuse.Identity] = frozenset()
    writes: frozenset[fileuse.Identity] = frozenset()

    def beside(self, other: "Demand") -> bool:
        """Whether both can run at the same time."""
        return not (self.writes & (other.reads | other.writes) or other.writes & self.reads)


class Order(NamedTuple, Generic[Key]):
    """A run to be made, by a call with these arguments; ``key`` is the caller's."""

    key: Key
    arguments: tuple[Any, ...]
    demand: Demand = Demand()


def demand(spec: Spec | Plan) -> Demand:
    """What a run of a spec takes, without its trace, which is the caller's."""
    names = spec.names() if isinstance(spec, Spec) else spec.names
    used = [use for use in fileuse.uses(name for name in names if not name.recording) if use.identity is not None]
    reads = frozenset(use.identity for use in used if use.identity is not None and not use.writes)
    writes = frozenset(use.identity for use in used if use.identity is not None and use.writes)
    return Demand(spec.vm.vcpus, reads, writes)


def processors() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0))


def completed(
    executor: Executor,
    call: Callable[..., Made],
    orders: Iterable[Order[Key]],
    most: int,
    room: int,
    started: Callable[[Key], None] = lambda key: None,
) -> Iterator[tuple[Key, "Future[Made]"]]:
    """Make runs by ``call``, at most ``most`` at once with ``room`` vCPUs in all; yield each once it has ended. A run
    with more vCPUs than that is made alone. ``started`` is called just before each run."""
    waiting = iter(orders)
    queue: list[Order[Key]] = []
    running: dict[Future[Made], Order[Key]] = {}
    while True:
        queue += islice(waiting, AHEAD - len(queue))
        while len(running) < most and (order := _next(queue, running.values(), room)) is not None:
            queue.remove(order)
            started(order.key)
            running[executor.submit(call, *order.arguments)] = order
            queue += islice(waiting, AHEAD - len(queue))
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future).key, future


def _next(queue: list[Order[Key]], running: Iterable[Order[Key]], room: int) -> Order[Key] | None:
    """The first run that fits beside those that are under way."""
    beside = [order.demand for order in running]
    left = room - sum(demand.vcpus for demand in beside)
    for order in queue:
        if (order.demand.vcpus <= left or not beside) and all(order.demand.beside(other) for other in beside):
            return order
    return None
