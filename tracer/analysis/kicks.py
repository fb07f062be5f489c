"""Notifications of virtio drivers among the exits: which exit notified a device of a request."""

from array import array
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, NamedTuple

from tracer.decode.mmio import is_virtio, notified_queue
from tracer.read.metadata import silent, unseen
from tracer.read.reader import Trace

_READ = ("seq", "vcpu", "t_exit", "reason", "rip", "addr", "direction", "data", "device")


def unrecorded(metadata: Mapping[str, str]) -> str:
    """What a trace lacks because KVM or another process answers it: a part of a sentence, "" if nothing."""
    lacks = []
    if devices := silent(metadata):
        lacks.append(f'the notifications of {", ".join(devices)} are not in the trace (notify = "ioeventfd")')
    if devices := unseen(metadata):
        lacks.append(f"the requests to {', '.join(devices)} are not in the trace (another process serves them)")
    return "; ".join(lacks)


class Kick(NamedTuple):
    """An exit by which a driver notified a device of chains in a queue."""

    vcpu: int
    seq: int
    t_exit: int
    rip: int


class Kicks:
    """All notifications of a trace, by device and queue. Some 32 bytes each.

    There are none of a device whose notifications KVM answers: the few that are exits, while its registers move, would
    be taken for those of other requests.
    """

    def __init__(self, trace: Trace) -> None:
        self._silent = {*silent(trace.metadata)}
        self._found: dict[tuple[str, int], tuple[array[int], ...]] = {}
        for batch in trace.batches(_READ):
            self._add(batch)

    def _add(self, batch: Any) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        writes = pc.and_(pc.equal(batch["reason"], "mmio"), pc.equal(batch["direction"], "write"))
        device = batch["device"]
        named = {*device.dictionary.to_pylist()} - self._silent
        wanted = [name for name in named if is_virtio(name)]
        if not wanted:
            return
        rows = batch.filter(pc.and_(writes, pc.is_in(device.cast(pa.utf8()), pa.array(wanted))))
        columns = [rows[name].to_pylist() for name in ("device", "addr", "data", "vcpu", "seq", "t_exit", "rip")]
        for name, addr, data, *kick in zip(*columns, strict=True):
            if (queue := notified_queue(addr, data)) is not None:
                place = self._found.setdefault((name, queue), (array("Q"), array("Q"), array("q"), array("Q")))
                for values, value in zip(place, kick, strict=True):
                    values.append(value)

    def __len__(self) -> int:
        return sum(len(times) for _, _, times, _ in self._found.values())

    def before(self, device: str, queue: int, t: int) -> Kick | None:
        """The last notification of a queue whose t_exit is at most ``t``; None: there was none."""
        place = self._found.get((device, queue))
        at = 0 if place is None else bisect_right(place[2], t)
        return Kick(*(values[at - 1] for values in place)) if place is not None and at else None
