"""The metadata in which two traces differ: the spec, the images, the host, the end."""

import json
from typing import Any

from tracer.analysis.account import run_end
from tracer.analysis.tables import field
from tracer.read.metadata import read_json
from tracer.read.reader import Trace
from vmspec.trace import keys

DEPTH = 8  # levels of nested JSON that are compared separately; a deeper value is compared as a whole
OWN_NAME = "trace.path"  # different in each trace, which is no difference of the runs


def length_ns(trace: Trace) -> int | None:
    """The length of a run; None if the trace does not have it."""
    return run_end(trace) or None


def metadata_schema() -> Any:
    """One row for each value that differs."""
    import pyarrow as pa

    return pa.schema(
        [
            field("key", pa.utf8(), "path of the value in the metadata"),
            field("a", pa.utf8(), "A's value as JSON; null: A has none"),
            field("b", pa.utf8(), "B's value as JSON; null: B has none"),
        ]
    )


def metadata(a: Trace, b: Trace) -> Any:
    """A table of :func:`metadata_schema`."""
    import pyarrow as pa

    ours, theirs = _facts(a), _facts(b)
    keys = [key for key in dict.fromkeys([*ours, *theirs]) if ours.get(key) != theirs.get(key)]
    rows = [{"key": key, "a": ours.get(key), "b": theirs.get(key)} for key in keys]
    return pa.Table.from_pylist(rows, schema=metadata_schema())


def _facts(trace: Trace) -> dict[str, str]:
    """The compared metadata, by path."""
    closing = trace.summary or {}
    overrides = _json(trace.metadata.get(keys.OVERRIDES))
    if isinstance(overrides, list):
        overrides = [item for item in overrides if not str(item).startswith(OWN_NAME)]
    known: dict[str, Any] = {
        "spec": trace.spec,
        "images": _json(trace.metadata.get(keys.IMAGES)),
        "overrides": overrides,
        "devices": list(trace.devices),
        "host": trace.host,
        "clock.tsc_khz": trace.clock.get("tsc_khz"),  # not tsc_start, which is never the same
        "complete": trace.complete,
        "result": closing.get("result"),
        "dropped": closing.get("dropped"),
    }
    facts = {path: text for key, value in known.items() for path, text in _flat(key, value, DEPTH).items()}
    facts.pop(f"spec.{OWN_NAME}", None)
    return facts


def _json(text: str | None) -> Any:
    try:
        return read_json(text) if text is not None else None
    except ValueError:
        return text


def _flat(path: str, value: Any, depth: int) -> dict[str, str]:
    """The values in nested tables and lists of tables, as JSON by path."""
    match value:
        case None:
            return {}
        case dict() if value and depth:
            inner = [(f"{path}.{key}", item) for key, item in value.items()]
        case list() if depth and any(isinstance(item, dict) for item in value):
            inner = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
        case _:
            return {path: json.dumps(value, default=str)}
    return {key: text for name, item in inner for key, text in _flat(name, item, depth - 1).items()}
