"""Accesses that no device claims."""

from collections.abc import Iterator, Sequence
from typing import Any

from runner.expect.unmet import Unmet
from tracer.analysis.scan import Grouping, scan
from tracer.read.reader import Trace
from tracer.show.output import duration
from vmspec.plan.settings import PlannedPlace
from vmspec.trace.record import FLAGS

SHOWN = 10  # places that are named, at most
KEYS = ("reason", "addr", "size", "direction")


def unmet(allow: Sequence[PlannedPlace], trace: Trace) -> Iterator[Unmet]:
    """Each place that the guest accessed though no device claims it, the first one first. Ports are below 0x10000, and
    there are no other addresses there than those of RAM."""
    aggregates = {"exits": ("t_exit", "count"), "first": ("t_exit", "min")}
    found = scan(trace, Grouping((*KEYS, "t_exit", "flags"), KEYS, aggregates, _unclaimed, ("addr",)))[0].to_pylist()
    places = [row for row in sorted(found, key=lambda row: row["first"]) if not _allowed(row, allow)]
    for row in places[:SHOWN]:
        expected = "no access that no device claims" + (", but those of expect.allow" if allow else "")
        if row["addr"] is None:  # there are too many
            where, look = "other addresses", "vmtrace events --where UNCLAIMED"
        else:
            where = f"{'port' if row['reason'] == 'io' else 'address'} {row['addr']:#x}"
            look = f"vmtrace events --where 'UNCLAIMED and addr == {row['addr']:#x}'"
        times = "once" if row["exits"] == 1 else f"{row['exits']:,} times"
        what = {"read": "read", "write": "wrote"}.get(row["direction"], "accessed")
        came = f"the guest {what} {where} {times}, first after {duration(row['first'])}"
        yield Unmet("expect.unclaimed", expected, came, look)
    if len(places) > SHOWN:
        came = f"the guest accessed {len(places) - SHOWN:,} more"
        yield Unmet("expect.unclaimed", "no other place", came, "vmtrace events --where UNCLAIMED")


def _allowed(row: Any, allow: Sequence[PlannedPlace]) -> bool:
    start, size = row["addr"], row["size"]
    return start is not None and any(
        place.start <= start and start + size <= place.start + place.size for place in allow
    )


def _unclaimed(batch: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    flag = pc.bit_wise_and(batch["flags"], pa.scalar(FLAGS["UNCLAIMED"], pa.uint16()))
    return batch.filter(flag.cast(pa.bool_()))
