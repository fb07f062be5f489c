"""Requests to virtio devices that failed, and problems that devices reported."""

from collections.abc import Iterator, Sequence

from runner.expect.unmet import Unmet, many
from tracer.read.reader import Trace
from tracer.show.output import duration
from vmspec.trace.requests import REQUESTS

LOOK = "vmtrace io"


def unmet(trace: Trace, reported: Sequence[str]) -> Iterator[Unmet]:
    """Each problem that a device reported, and the failed requests of each device and kind."""
    for text in reported:
        yield Unmet("expect.errors", "no problem of a device", text, "vmtrace events --last 10")
    for (device, kind, status), (count, first) in sorted(_failed(trace).items()):
        came = f"{many(count, 'request')} {kind!r} to {device} ended with {status!r}, the first after {duration(first)}"
        yield Unmet("expect.errors", "no request to a device that fails", came, LOOK)


def _failed(trace: Trace) -> dict[tuple[str, str, str], tuple[int, int]]:
    """By device, kind and status: how many requests failed, and when the first was done."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found: dict[tuple[str, str, str], tuple[int, int]] = {}
    table = trace.tables.get(REQUESTS.name)
    for batch in table.batches(("device", "kind", "status", "t_done")) if table is not None else ():
        failed = batch.filter(pc.not_equal(batch["status"].cast(pa.utf8()), "ok"))
        for row in failed.to_pylist():
            key = row["device"], row["kind"], row["status"]
            count, first = found.get(key, (0, row["t_done"]))
            found[key] = count + 1, min(first, row["t_done"])
    return found
