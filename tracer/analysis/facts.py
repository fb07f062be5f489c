"""Facts about a trace: completeness, size, machine, host, clock."""

from collections import Counter
from typing import Any

from tracer.analysis.account import pauses, run_end
from tracer.analysis.frames import counted, dropped
from tracer.analysis.kicks import unrecorded
from tracer.format.closing import KILLED
from tracer.format.errors import TraceError
from tracer.read.metadata import machine_name, read_json, silent, unseen
from tracer.read.reader import Trace
from vmspec.host.pathtext import to_text
from vmspec.trace import keys
from vmspec.trace.files import BESIDE

STORED_BYTES = 64  # of a record in the ring


def facts(trace: Trace) -> dict[str, Any]:
    """Facts about a trace, ready for JSON; times are ns, sizes bytes.

    ``trace``: path, kind, format, bytes, rows, bytes_per_exit, recorded_bytes, first_ns, last_ns.
    ``complete``: complete, why, dropped, interrupted, silent: the devices whose notifications have no rows, unseen:
    those whose requests have none.
    ``run``: name, result, duration_ns (up to now if the run continues), frames (of each network
    device, moved and dropped), pauses (t_ns and time_ns of each), started (ISO
    8601, UTC), version (of vmrun), vcpus (rows of each), devices, images, overrides.
    ``tables``: for each table beside the exits its rows and whether it is complete, or its problem.
    ``host``, ``clock`` and ``spec``: as recorded. ``other``: keys of the metadata that are none of these.
    """
    import pyarrow.compute as pc

    rows: Counter[int] = Counter()
    first: int | None = None
    last = 0
    for batch in trace.batches(["vcpu", "t_exit", "t_entry"]):
        rows.update({pair["values"]: pair["counts"] for pair in pc.value_counts(batch["vcpu"]).to_pylist()})
        first = pc.min(batch["t_exit"]).as_py() if first is None else min(first, pc.min(batch["t_exit"]).as_py())
        last = max(last, pc.max(batch["t_entry"]).as_py())
    total = rows.total()
    size = trace.path.stat().st_size
    closing = trace.summary or {}
    known = {keys.FORMAT, keys.DEVICES, keys.SPEC, keys.HOST, keys.CLOCK, keys.IMAGES}
    known |= {keys.LOCK, keys.REGIONS, keys.OVERRIDES, keys.STARTED, keys.VERSION}
    return {
        "trace": {
            "path": to_text(trace.path),
            "kind": trace.kind,
            "format": trace.metadata[keys.FORMAT],
            "bytes": size,
            "rows": total,
            "bytes_per_exit": round(size / total, 2) if total else None,
            "recorded_bytes": total * STORED_BYTES,
            "first_ns": first,
            "last_ns": last,
        },
        "complete": {
            "complete": trace.complete,
            "why": _why(trace, total),
            "dropped": closing.get("dropped"),
            "interrupted": closing.get("interrupted"),
            "silent": list(silent(trace.metadata)),
            "unseen": list(unseen(trace.metadata)),
        },
        "run": {
            "name": machine_name(trace.spec) or None,
            "result": closing.get("result"),
            "duration_ns": run_end(trace, last),
            "frames": {device: {**counts, "dropped": dropped(counts)} for device, counts in counted(trace).items()},
            "pauses": [{"t_ns": start, "time_ns": end - start} for start, end in pauses(trace)],
            "started": trace.metadata.get(keys.STARTED),
            "version": trace.metadata.get(keys.VERSION),
            "vcpus": {str(vcpu): count for vcpu, count in sorted(rows.items())},
            "devices": list(trace.devices),
            "images": _json(trace.metadata.get(keys.IMAGES)),
            "overrides": _json(trace.metadata.get(keys.OVERRIDES)),
        },
        "tables": _beside(trace),
        "host": trace.host,
        "clock": trace.clock,
        "spec": trace.spec,
        "other": {key: _json(text) for key, text in trace.metadata.items() if key not in known},
    }


def _beside(trace: Trace) -> dict[str, dict[str, Any]]:
    """The tables beside the exits. A damaged one is reported here and does not hide the rest of the trace."""
    found: dict[str, dict[str, Any]] = {}
    for name in BESIDE:
        try:
            table = trace.tables.get(name)
            if table is not None:
                rows = sum(batch.num_rows for batch in table.batches([table.time]))
                found[name] = {"rows": rows, "complete": table.complete}
        except TraceError as error:
            found[name] = {"problem": str(error)}
    return found


def _why(trace: Trace, rows: int) -> str:
    """A sentence on what is missing, if anything."""
    closing = trace.summary
    if closing is None:
        return "there is no closing summary: the run continues, or was killed"
    if "recovered" in closing:
        return "recovered from a killed run's files"
    if closing.get("complete", True) is not True:
        return "its closing summary marks it as incomplete"
    result = closing.get("result")
    killed = isinstance(result, dict) and result.get("kind") == KILLED
    closed = "vmrun was killed; its recorder closed the trace" if killed else "closed by its run"
    said = closing.get("rows")
    dropped = closing.get("dropped")
    if isinstance(said, list) and all(isinstance(count, int) for count in said) and sum(said) != rows:
        return f"the run recorded {sum(said):,} exits, the file has {rows:,}"
    if isinstance(dropped, list) and any(isinstance(count, int) and count for count in dropped):
        return f"{closed}, but exits were dropped because a ring was full"
    lacks = unrecorded(trace.metadata)
    return f"{closed}, nothing dropped" + (f"; {lacks}" if lacks else "")


def _json(text: str | None) -> Any:
    """Metadata as JSON, or as the plain text."""
    if text is None:
        return None
    try:
        return read_json(text)
    except ValueError:
        return text
