"""A run divided into phases at its console lines: where nothing was printed for long, and what is between."""

from collections.abc import Sequence
from typing import Any

from tracer.analysis.tables import field

LONGEST = 12  # waits between two lines that are phases of their own


def phases_schema() -> Any:
    """The schema of :func:`phases`."""
    import pyarrow as pa

    return pa.schema(
        [
            field("start", pa.int64(), "first byte of the phase's first line; 0 of a phase before any line", "ns"),
            field("length_ns", pa.int64(), "time until the next phase's first line, or the end", "ns"),
            field("exits", pa.int64(), "exits in it"),
            field("wait", pa.bool_(), "whether it is one of the longest steps from a line to the next"),
            field("lines", pa.int64(), "console lines that begin in it; a wait has one, the line before it"),
            field("line", pa.int64(), "index of its first line; -1 before any line"),
            field("text", pa.utf8(), "its first line"),
        ]
    )


def phases(times: Sequence[int], texts: Sequence[str], exits: Sequence[int], end: int, longest: int = LONGEST) -> Any:
    """Divide the time from 0 to ``end`` (ns) into phases, a ``pyarrow.Table`` of :func:`phases_schema` by time.

    ``times`` are when lines began, in order, ``texts`` the lines, ``exits`` the exits in the step that each line
    begins, preceded by those before any line (one more than lines). A step is the time from a line to the next one.
    The ``longest`` steps are phases of their own; steps between two of them are one phase together.
    """
    import pyarrow as pa

    starts = [0, *times]
    lengths = [max(after - start, 0) for start, after in zip(starts, [*times, max(end, starts[-1])], strict=True)]
    own = set(sorted(range(len(starts)), key=lambda step: -lengths[step])[:longest])
    rows: list[dict[str, Any]] = []
    for step, (start, length, count) in enumerate(zip(starts, lengths, exits, strict=True)):
        if rows and step not in own and step - 1 not in own and step > 1:
            last = rows[-1]
            last["length_ns"] += length
            last["exits"] += count
            last["lines"] += 1
        elif step or length or count:
            text = texts[step - 1] if step else ""
            span = {"start": start, "length_ns": length, "exits": count, "wait": step in own}
            rows.append(span | {"lines": int(step > 0), "line": step - 1, "text": text})
    return pa.Table.from_pylist(rows, schema=phases_schema())
