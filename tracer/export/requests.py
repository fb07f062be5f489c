"""Requests for timeline formats: a slice each, on as many lanes of its queue as were in flight at once."""

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from tracer.analysis.requests import loaded
from tracer.read.reader import Trace
from vmspec.trace.requests import REQUESTS


class Slice(NamedTuple):
    """A request from the start of its latency until it was done. Slices of one ``lane`` of a queue do not overlap."""

    device: str
    queue: int
    lane: int
    name: str
    start: int
    stop: int
    facts: dict[str, int | str]


def slices(trace: Trace) -> Iterator[Slice]:
    """The requests by the start of their latency. Empty if none were recorded."""
    if REQUESTS.name not in trace.tables:
        return
    free: dict[tuple[str, int], list[int]] = {}  # lanes of each queue
    taken: dict[tuple[str, int], list[tuple[int, int]]] = {}  # of each queue, when each lane will be free
    for batch in loaded(trace).sort_by([("start", "ascending"), ("end", "ascending")]).to_batches():
        for row in batch.to_pylist():
            place = row["device"], row["queue"]
            lanes, busy = free.setdefault(place, []), taken.setdefault(place, [])
            while busy and busy[0][0] <= row["start"]:
                heappush(lanes, heappop(busy)[1])
            lane = heappop(lanes) if lanes else len(busy)
            heappush(busy, (row["end"], lane))
            facts = {name: row[name] for name in ("position", "length", "status", "wait", "service")}
            yield Slice(*place, lane, row["kind"], row["start"], row["end"], facts)
