"""Results in the requested format: tables on a terminal, JSON, CSV or Parquet. Shared by all commands."""

import argparse
import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tracer.format.errors import TraceError
from tracer.format.jsonvalues import converter, records
from tracer.format.paths import keep, read_files
from tracer.format.schema import flag_names
from tracer.format.sink import sink
from tracer.format.vocabulary import HEXADECIMAL, heading, unit
from tracer.show.csv import marked
from vmspec.host.printable import printable
from vmspec.host.streams import WIDEST, columns

WIDE = WIDEST  # more columns than any terminal has
SHOWN = 15  # rows of a table on a terminal, unless all are requested
PIPED = 1000  # rows in a pipe or a file: enough for most traces; laying out a table takes half a millisecond a row
BYTES = 32  # that are shown of a binary value
CUT = 20  # columns that a text keeps while there are numbers to leave out


def add_formats(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a format; see :func:`show`."""
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument(
        "--json", action="store_true", help="everything, as one JSON object; times in ns, addresses as 0x..."
    )
    formats.add_argument("--csv", action="store_true", help="one table as CSV; times in ns")
    formats.add_argument("--parquet", metavar="FILE", type=Path, help="one table as a Parquet file")
    parser.add_argument("--table", metavar="NAME", help="only this table; for CSV and Parquet the default is the first")
    parser.add_argument("--all", action="store_true", help="every row, not only the first ones")


def show(tables: Mapping[str, Any], options: argparse.Namespace, head: str = "") -> None:
    """Print or write result tables (``pyarrow.Table`` by name) as ``options`` say; ``head`` is text for people.

    Units decide how a column is shown: "ns" as a duration, "address" and "hex" in hexadecimal, "flags" by the bits'
    names, "share" as per cent, "text" cut to the available width. :mod:`tracer.format.jsonvalues` has the rules of
    JSON. A heading is the column's name (:func:`tracer.format.vocabulary.heading`). A schema's "title" is the table's.

    Other metadata is for terminals only. If a terminal is too narrow, fields with "detail" are left out, then the last
    numbers, first those without "keep". Output that is not a terminal gets every column and a thousand rows. Text from
    a guest is printed without its control characters.
    """
    if options.table is not None:
        if options.table not in tables:
            raise TraceError(f"there is no table {options.table!r} here; there are {', '.join(tables)}")
        tables = {options.table: tables[options.table]}
    if options.json:
        json.dump({name: records(table) for name, table in tables.items()}, sys.stdout, indent=2)
        print()
    elif options.csv:
        _write_csv(_flat(next(iter(tables.values()))))
    elif options.parquet is not None:
        import pyarrow.parquet

        keep(options.parquet, _read(options))
        try:
            with sink(options.parquet) as out:
                pyarrow.parquet.write_table(next(iter(tables.values())), out)
        except pyarrow.ArrowException as error:
            raise TraceError(f"cannot write {options.parquet}: {error}") from error
    else:
        _print(tables, head, None if options.all else SHOWN)


def _write_csv(table: Any) -> None:
    import pyarrow.csv

    if not sys.stdout.isatty():
        pyarrow.csv.write_csv(table, sys.stdout.buffer)
        return
    out = io.BytesIO()
    pyarrow.csv.write_csv(table, out)
    for line in out.getvalue().decode().removesuffix("\n").split("\n"):
        print(printable(line))


def _read(options: argparse.Namespace) -> Iterator[Path]:
    """The files that a command reads: all those in its options except the output."""
    for name, value in vars(options).items():
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, Path) and name != "parquet":
                yield from read_files(path)


def _print(tables: Mapping[str, Any], head: str, limit: int | None) -> None:
    from rich.console import Console

    # Set the height too, or rich would query both itself.
    console = Console(highlight=False, soft_wrap=False, width=columns() or WIDE, height=25)
    if not console.is_terminal:  # a reader such as grep wants all of it
        limit = limit and PIPED
    with console.capture() as captured:
        if head:
            console.print("\n".join(map(shown, head.split("\n"))), markup=False)
        for name, table in tables.items():
            console.print()
            console.print(_fitting(console, name, table, limit))
    # Tables are as wide as their widest line; trailing blanks mean nothing.
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def _fitting(console: Any, name: str, table: Any, limit: int | None) -> Any:
    """The table as rich has it, with the columns that fit: without its details, then without its last numbers."""
    import pyarrow as pa

    wide = console.options.update(max_width=WIDE)
    if console.measure(as_rich(name, table, limit), options=wide).maximum > console.width:
        table = without_details(table)
    while _width(table, limit) > console.width:
        numbers = [field for field in table.schema if not pa.types.is_string(field.type)]
        if not numbers:
            break
        spare = [field for field in numbers if b"keep" not in (field.metadata or {})] or numbers
        table = table.drop_columns([spare[-1].name])
    return as_rich(name, table, limit)


def _width(table: Any, limit: int | None) -> int:
    """The width below which names and numbers would be broken: only texts are cut, and only sentences wrap."""
    return sum(_least(table, field, limit) + 2 for field in table.schema)  # a margin, and two between columns


def _least(table: Any, field: Any, limit: int | None) -> int:
    """The width below which a column would break a name or a number."""
    from rich.cells import cell_len

    cells = [_head(field), *(cell(value, unit(field)) for value in table[field.name].slice(0, limit).to_pylist())]
    whole = _is_number(field) or unit(field) == "text"
    pieces = [piece for text in cells for piece in ([text] if whole else [*text.split(), ""])]
    widest: int = max(map(cell_len, pieces))
    if unit(field) == "text":
        widest = min(CUT, widest)
    return widest


def as_rich(name: str, table: Any, limit: int | None) -> Any:
    """A ``rich.table.Table`` of at most ``limit`` rows."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    more = table.num_rows - limit if limit is not None and table.num_rows > limit else 0
    caption = f"and {more:,} more rows (--all)" if more else None
    title = (table.schema.metadata or {}).get(b"title", name.encode()).decode()
    title += "" if table.num_rows else ": none"
    utf8 = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    rich = Table(
        title=title, title_justify="left", caption=caption, caption_justify="left",
        box=box.SIMPLE_HEAD if utf8 else _ascii(),
        pad_edge=False, padding=(0, 1, 0, 0), show_header=table.num_rows > 0, min_width=len(title),
    )  # fmt: skip
    for field in table.schema:
        number = _is_number(field)
        rich.add_column(
            Text(_head(field)), justify="right" if number else "left", overflow="fold", no_wrap=number,
            min_width=_least(table, field, limit),
        )  # fmt: skip
    units = [unit(field) for field in table.schema]
    for row in table.slice(0, limit).to_pylist():
        cells = ((cell(value, of), of == "text") for value, of in zip(row.values(), units, strict=True))
        # Only columns that may wrap give way, so a text to be cut must be marked itself.
        rich.add_row(*(Text(text, no_wrap=cut, overflow="ellipsis" if cut else None) for text, cut in cells))
    return rich


def _ascii() -> Any:
    """The lines of a table for a locale without better ones."""
    from rich.box import Box

    return Box("    \n    \n -- \n" + "    \n" * 5, ascii=True)


def _head(field: Any) -> str:
    """The heading of a column."""
    return shown(heading(field.name))


def _is_number(field: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(field.type) or pa.types.is_floating(field.type))


def without_details(table: Any) -> Any:
    """The table without its details, for little room."""
    return table.select([field.name for field in table.schema if b"detail" not in (field.metadata or {})])


def cell(value: Any, unit: str) -> str:
    """A value as text for people."""
    match value, unit:
        case None, _:
            return "-"
        case int() | float(), "ns":
            return duration(round(value))
        case int(), _ if unit in HEXADECIMAL:
            return f"{value:#x}"
        case int(), "flags":
            return " ".join(flag_names(value))
        case int() | float(), "share":
            return f"{value:.1%}"
        case bool(), _:
            return "yes" if value else "no"
        case int(), _:
            return f"{value:,}"
        case float(), _:
            return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
        case bytes(), _:
            return value[:BYTES].hex(" ") + " \N{HORIZONTAL ELLIPSIS}" * (len(value) > BYTES)
    return shown(str(value))


# A duration is rounded to three digits: below each of these, in ns, to multiples of the second number.
ROUNDING = (
    (1_000, 1),
    (9_995, 10),
    (99_950, 100),
    (999_500, 1_000),
    (9_995_000, 10_000),
    (99_950_000, 100_000),
    (999_500_000, 1_000_000),
    (9_995_000_000, 10_000_000),
    (99_950_000_000, 100_000_000),
)
COARSEST = 1_000_000_000


def duration(ns: int) -> str:
    """A duration in a suitable unit, three or four digits: 850 ns, 12.3 us, 4.56 ms, 14.0 s."""
    size = abs(ns)
    if size < 1000:
        return f"{ns} ns"
    step = next((step for limit, step in ROUNDING if size < limit), COARSEST)
    rounded = (size + step // 2) // step * step
    unit, scale = ("us", 10**3) if rounded < 10**6 else ("ms", 10**6) if rounded < 10**9 else ("s", 10**9)
    digits = len(str(scale // step)) - 1
    return f"{'-' if ns < 0 else ''}{rounded // scale:,}" + (
        f".{rounded % scale // step:0{digits}} {unit}" if digits else f" {unit}"
    )


def shown(line: str) -> str:
    """A line of text from a guest or a file for a terminal: tabs as spaces, escapes for what would act on it."""
    return printable(line.expandtabs())


def cut(text: str, width: int) -> str:
    """The text in at most that many columns of a terminal; some characters take two."""
    if len(text) <= width and text.isascii():
        return text
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def pairs(values: dict[str, Any]) -> str:
    """Names and values, one per line."""
    texts = {printable(name): printable(value) for name, value in values.items()}
    width = max(map(len, texts), default=0)
    return "\n".join(f"{name.ljust(width)}  {text}" for name, text in texts.items())


def _flat(table: Any) -> Any:
    """The table with the values that CSV cannot hold as text: bytes in hexadecimal, nested values as JSON."""
    import pyarrow as pa

    def flat(column: Any) -> Any:
        match column.type:
            case kind if pa.types.is_dictionary(kind):
                return column.cast(kind.value_type)
            case kind if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                return pa.array([value and value.hex() for value in column.to_pylist()], pa.utf8())
            case kind if pa.types.is_nested(kind) or pa.types.is_interval(kind):
                values = map(converter(kind), column.to_pylist())
                return pa.array([v if v is None else json.dumps(v) for v in values], pa.utf8())
        return column

    return pa.table({name: marked(flat(table[name])) for name in table.column_names})
