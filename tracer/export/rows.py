"""The rows of a trace for formats that are written row by row: tuples rather than dicts, with names for codes."""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from tracer.reader import Trace
from tracer.rowfile import tuples
from tracer.schema import NO_DEVICE, flag_names


class Exit(NamedTuple):
    """A row; the fields are the trace's columns, in their order (``items`` is ``count``, which tuples have)."""

    seq: int
    vcpu: int
    t_exit: int
    t_entry: int
    reason: str
    rip: int
    addr: int
    size: int
    items: int
    direction: str
    data: int
    payload: bytes
    device: str
    flags: int


def exits(trace: Trace) -> Iterator[Exit]:
    """All rows, in the trace's order."""
    for batch in trace.batches():
        yield from map(Exit._make, tuples(batch))


@lru_cache(1 << 12)
def title(reason: str, device: str, direction: str) -> str:
    """What an exit is called: ``io serial0 write``, ``hlt``."""
    return " ".join(part for part in (reason, device, direction) if part not in (NO_DEVICE, "none"))


@lru_cache(1 << 12)
def flag_text(flags: int) -> str:
    """The names of the bits that are set: ``PYTHON|RIP``."""
    return "|".join(flag_names(flags))
