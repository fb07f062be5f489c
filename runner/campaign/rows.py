"""A run as a row: its columns, and the schema of the data set."""

from collections.abc import Sequence
from typing import Any

from runner.campaign.measure import Measured
from runner.campaign.runs import Run
from vmspec.host.pathtext import to_text
from vmspec.trace.campaigns import SET


def row(run: Run, measured: Measured) -> dict[str, Any]:
    """The row of a run, as JSON values."""
    outcome, result = measured.outcome, measured.outcome.result
    return {
        "run": run.name,
        "spec": to_text(run.machine.spec),
        "repetition": run.repetition,
        "started": outcome.started,
        "status": outcome.status,
        "kind": None if result is None else result.kind,
        "error": outcome.error or (result.detail if result is not None else "") or None,
        "unmet": [] if result is None else [str(failure) for failure in result.unmet],
        "seconds": None if result is None else result.seconds,
        "wall_seconds": outcome.seconds,
        "exits": sum(group["exits"] for group in measured.exits),
        "handling_ns": measured.handling_ns,
        "median_ns": measured.median_ns,
        "p99_ns": measured.p99_ns,
        "groups": measured.exits,
        "phases": measured.phases,
        "trace": None if result is None or result.trace is None else to_text(result.trace),
        **{f"{SET}{key}": _plain(value) for key, value in run.machine.values.items()},
    }


def lost(run: Run, status: int, error: str) -> dict[str, Any]:
    """The row of a run whose worker died."""
    from runner.workers.task import Outcome

    return row(run, Measured(Outcome(status, None, error, 0.0, 0.0), []))


def table(rows: Sequence[dict[str, Any]]) -> Any:
    """Rows as a ``pyarrow.Table``. The columns of overrides have the type of their values: numbers, booleans, texts."""
    import pyarrow as pa

    times = [("handling_ns", pa.int64()), ("median_ns", pa.int64()), ("p99_ns", pa.int64())]
    fixed = [
        ("run", pa.utf8()), ("spec", pa.utf8()), ("repetition", pa.int64()), ("started", pa.timestamp("us", "UTC")),
        ("status", pa.int64()), ("kind", pa.utf8()), ("error", pa.utf8()), ("unmet", pa.list_(pa.utf8())),
        ("seconds", pa.float64()), ("wall_seconds", pa.float64()), ("exits", pa.int64()), *times,
        ("groups", pa.list_(pa.struct([("device", pa.utf8()), ("reason", pa.utf8()), ("exits", pa.int64()), *times]))),
        ("phases", pa.list_(pa.struct([("phase", pa.utf8()), ("time_ns", pa.int64())]))),
        ("trace", pa.utf8()),
    ]  # fmt: skip
    columns = {}
    for name, kind in fixed:
        values = [row.get(name) for row in rows]
        if name == "started":
            values = [None if value is None else round(value * 1e6) for value in values]
        columns[name] = pa.array(values, kind)
    for name in dict.fromkeys(name for row in rows for name in row if name.startswith(SET)):
        values = [row.get(name) for row in rows]
        if len({type(value) for value in values} - {type(None)}) > 1:
            values = [None if value is None else str(value) for value in values]
        columns[name] = pa.array(values)
    return pa.table(columns)


def alike(tables: Sequence[Any]) -> list[Any]:
    """The tables with the same type for each column of an override: text, where they differ."""
    import pyarrow as pa

    kinds: dict[str, set[Any]] = {}
    for one in tables:
        for field in one.schema:
            if field.name.startswith(SET) and not pa.types.is_null(field.type):
                kinds.setdefault(field.name, set()).add(field.type)
    mixed = {name for name, found in kinds.items() if len(found) > 1}
    return [
        one.cast(pa.schema([field.with_type(pa.utf8()) if field.name in mixed else field for field in one.schema]))
        for one in tables
    ]


def _plain(value: Any) -> Any:
    """A TOML value as JSON's; what JSON lacks is text, and so is an array."""
    return value if isinstance(value, bool | int | float | str) else str(value)
