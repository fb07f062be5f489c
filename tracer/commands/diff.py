"""``vmtrace diff``: where two traces differ, or how two sets of runs differ beyond their own spread."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tracer.analysis import difference, distribution
from tracer.analysis.difference import compare
from tracer.format.errors import TraceError
from tracer.read.reader import load
from tracer.show.difftext import as_text
from tracer.show.output import add_formats, show
from vmspec.trace.record import COMPARED

CELL = 80  # characters of a text in a table on a terminal
TEXT = ("vcpus", "rows")  # tables that the text shows, or that are too wide for a terminal
LONG = ("differences",)  # shown only if selected
# Options of the one use and of the other.
PAIR = ("context", "resync", "mask_numbers")
SEVERAL = ("against", "line", "threshold", "noise", "only")

EPILOG = """
With two traces: each vCPU's exits are compared in their order, without regard to time. Exit status 0: equal;
1: different; 2: a file or the command line is wrong. Metadata that differs is shown but does not count.

With --stat: the files are runs of one side, those after --against of the other. A quantity differs when its medians are
further apart than --threshold and than --noise times the sum of both sides' spreads. Exit status 1: at
least one differs.
"""


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = EPILOG
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="A and B; with --stat, all runs of A")
    pair = parser.add_argument_group("two traces")
    pair.add_argument("--ignore", metavar="COLUMNS", help=f"columns that may differ, of {','.join(COMPARED)}")
    pair.add_argument("--context", type=_count, metavar="N", help="equal exits to show around a difference (3)")
    pair.add_argument(
        "--resync",
        type=_count,
        metavar="N",
        help="searches per vCPU for the place where exits are equal again (10,000)",
    )
    pair.add_argument(
        "--mask-numbers", action="store_true", help="compare the console as lines in which numbers may differ"
    )
    several = parser.add_argument_group("several runs")
    several.add_argument("--stat", action="store_true", help="compare two sets of runs")
    several.add_argument("--against", type=Path, nargs="+", default=[], metavar="FILE", help="the runs of side B")
    several.add_argument(
        "--line", action="append", default=[], metavar="TEXT", help="also compare the time to this console line"
    )
    several.add_argument("--threshold", type=_share, metavar="SHARE", help="smallest change that counts (5%%)")
    several.add_argument("--noise", type=_factor, metavar="K", help="how many spreads a change must exceed (3)")
    several.add_argument("--only", metavar="PATTERN", help="only these quantities, such as boot or 'exits device *'")
    add_formats(parser)


def tables() -> dict[str, Any]:
    """The schemas of the tables, for ``vmtrace columns``."""
    return {"diff": difference.schemas(), "diff --stat": distribution.schemas()}


def run(options: argparse.Namespace) -> int:
    """Compare and print; the status says whether there is a difference."""
    if options.stat:
        return _runs(options)
    if given := _given(options, SEVERAL):
        raise TraceError(f"{given} goes with --stat: vmtrace diff --stat A1 A2 ... --against B1 B2 ...")
    if len(options.files) != 2:
        raise TraceError(f"give two traces, not {len(options.files)}; for several runs per side: --stat")
    ignored = [name.strip() for name in (options.ignore or "").split(",") if name.strip()]
    if unknown := [name for name in ignored if name not in COMPARED]:
        raise TraceError(f"--ignore: there is no column {unknown[0]!r}; there are {', '.join(COMPARED)}")
    if set(ignored) >= set(COMPARED):
        raise TraceError("--ignore: nothing is left to compare")
    a, b = (load(file) for file in options.files)
    found = compare(a, b, ignored, **_given_values(options, PAIR))
    tables = dict(found.tables)
    if _for_people(options) and options.table in (None, *TEXT):
        hidden = (*TEXT, *LONG) if options.table is None else tables
        tables = {name: _short(table) for name, table in tables.items() if name not in hidden and _tells(table)}
        options.table = None
    show(tables, options, head=as_text(a, b, found))
    return 0 if found.same else 1


def _runs(options: argparse.Namespace) -> int:
    from tracer.analysis.distribution import compare_runs

    if given := _given(options, ("ignore", *PAIR)):
        raise TraceError(f"{given} is for two traces, without --stat")
    if not options.against:
        raise TraceError("--stat needs the runs of the other side: vmtrace diff --stat A1 A2 ... --against B1 B2 ...")
    limits = _given_values(options, ("threshold", "noise", "only"))
    found = compare_runs(options.files, options.against, options.line, **limits)
    tables = found.tables
    if _for_people(options) and options.table is None:
        tables = {name: table for name, table in tables.items() if table.num_rows}
    show(tables, options, head=found.text)
    return 1 if found.differs else 0


def _given_values(options: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """The options of these names that were given."""
    return {name: value for name in names if (value := getattr(options, name)) or (value == 0 and value is not False)}


def _given(options: argparse.Namespace, names: Sequence[str]) -> str | None:
    """The first of these options that was given, as it is written."""
    return next((f"--{name.replace('_', '-')}" for name in _given_values(options, names)), None)


def _for_people(options: argparse.Namespace) -> bool:
    return not (options.json or options.csv or options.parquet)


def _tells(table: Any) -> bool:
    """Whether a table shows any difference between A and B."""
    sides = [(name, name.replace("_a", "_b", 1)) for name in table.column_names if name.endswith(("_a", "_a_ns"))]
    pairs = [(table[a].to_pylist(), table[b].to_pylist()) for a, b in sides if b in table.column_names]
    return bool(table.num_rows) and (not pairs or any(a != b for a, b in pairs))


def _short(table: Any) -> Any:
    """The table with its long texts cut for a terminal."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for index, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            texts = table.column(index)
            cut = pc.binary_join_element_wise(pc.utf8_slice_codeunits(texts, 0, CELL - 3), "...", "")
            table = table.set_column(index, field, pc.if_else(pc.greater(pc.utf8_length(texts), CELL), cut, texts))
    return table


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return int(text)


def _share(text: str) -> float:
    """Parse 5% or 0.05."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a share such as 5% or 0.05")
    return value


def _factor(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return value
