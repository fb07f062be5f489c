"""The parts of the documents that are lists of what the code defines. ``make docs`` writes them.

A part stands between ``<!-- make docs: NAME -->`` and ``<!-- end -->``. Between two releases a page may lack what is
new, as the commands print it all; what it says must be so (test_reference.py). A release has all of it (``make dist``).
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from runner.machine.result import Ending, status
from tracer.commands.columns import kind, schemas
from tracer.format.vocabulary import UNITS, unit
from vmspec.exchange.lkvm import OPTIONS, Option
from vmspec.plan.settings import PlannedExpect
from vmspec.show.reference import text
from vmspec.trace.ends import ENDS, KINDS, EndKind
from vmspec.trace.frames import COUNTS
from vmspec.trace.record import COLUMNS, FLAG_DOCS, FLAGS, HEADER, RECORD, RING
from vmspec.trace.requests import KINDS as KINDS_OF_REQUESTS
from vmspec.trace.requests import REQUEST, REQUESTS, STATUSES
from vmspec.trace.table import Column, Field

DOCS = Path(__file__).parents[2] / "docs"
PART = re.compile(r"(<!-- make docs: ([^\n]+) -->\n)(.*?)(<!-- end -->\n)", re.DOTALL)


def parts() -> dict[str, dict[str, str]]:
    """What each part of each page is to hold: by the page, then by the part's name."""
    commands = schemas()
    return {
        "spec.md": {
            "ends": _table(("kind", "meaning", "exit status"), ((f"`{k}`", KINDS[k].doc, _status(k)) for k in KINDS)),
            "vmspec keys": f"```\n{text()}```\n",
        },
        "columns.md": {
            "units": _table(("unit", "meaning"), UNITS.items()),
            **{f"vmtrace {command}": _command(command, commands) for command in commands},
        },
        "trace-format.md": {
            "columns": _columns(COLUMNS),
            "flags": _table(
                ("bit", "name", "meaning"), ((str(FLAGS[name]), name, doc) for name, doc in FLAG_DOCS.items())
            ),
            "ring header": _fields(HEADER),
            "ring control block": _fields(RING),
            "ring record": _record(RECORD),
            "ring request": _record(REQUEST),
        },
        "lkvm.md": {"lkvm run": _table(("`lkvm run`", "spec"), ((_lkvm(each), each.doc) for each in OPTIONS))},
        "network.md": {"frames": _table(("count", "frames"), ((f"`{name}`", doc) for name, doc in COUNTS.items()))},
        "requests.md": {
            "columns": _columns(REQUESTS.columns),
            "kinds": _table(("kind", "request"), ((f"`{kind}`", doc) for kind, doc in KINDS_OF_REQUESTS.items())),
            "statuses": _table(("status", "meaning"), ((f"`{status}`", doc) for status, doc in STATUSES.items())),
        },
    }


def _lkvm(option: Option) -> str:
    """An option of lkvm as one gives it."""
    value = f" {option.value}" if option.value else ""
    names = [f"`--{option.long}{value}`", *([f"`-{option.short}`"] if option.short else [])]
    return ", ".join(names)


def _columns(columns: Iterable[Column]) -> str:
    """The columns of a table of a trace."""
    rows = ((f"`{c.name}`", "dictionary" if c.names else c.type, c.unit, c.doc) for c in columns)
    return _table(("column", "type", "unit", "meaning"), rows)


def _record(fields: Iterable[Field]) -> str:
    """The fields of a record of a ring."""
    return _table(("field", "type", "meaning"), ((f"`{f.name}`", f.ctype.removesuffix("_t"), f.doc) for f in fields))


def written(page: str, wanted: dict[str, str]) -> str:
    """A page with its parts as they are to be; those that it lacks come last, each below a heading."""
    missing = [name for name in wanted if f"<!-- make docs: {name} -->" not in page]
    page += "".join(f"\n## {name}\n\n<!-- make docs: {name} -->\n<!-- end -->\n" for name in missing)
    return PART.sub(lambda found: found[1] + wanted.get(found[2], "") + found[4], page)


def untrue(page: str, wanted: dict[str, str]) -> Iterator[str]:
    """The lines of a page's parts that the code does not define, or not in this order."""
    for _, name, body, _ in PART.findall(page):
        lines = wanted.get(name, "").splitlines()
        for line in body.splitlines():
            if line in lines:
                del lines[: lines.index(line) + 1]
            else:
                yield f"{name}: {line}"


def _command(command: str, commands: Any) -> str:
    """The tables of a command. What another page or command has already is not repeated."""
    shown = []
    for name, schema in commands[command].items():
        known = {column.name for column in COLUMNS}
        if (command, name) == ("sql", "exits"):
            known = {field.name for of_events in commands["events"].values() for field in of_events}
        elif not known <= set(schema.names):
            known = set()
        rows = ((f"`{f.name}`", kind(f), unit(f), f.metadata[b"doc"].decode()) for f in schema if f.name not in known)
        title = f"`{name}`\n\n" if len(commands[command]) > 1 else ""
        if known and command not in ("events", "sql"):  # the page says it of these
            title += "All columns of the trace ([trace-format.md](trace-format.md#columns)), and these:\n\n"
        shown.append(title + _table(("column", "type", "unit", "meaning"), rows))
    return "\n".join(shown)


def _status(kind: EndKind) -> str:
    """The exit status of a run that ends so, without expectations; and with it expected, if that differs."""
    plain = "the guest's" if kind == "debug-exit" else str(status(PlannedExpect(), Ending(kind), ()))
    return f"{plain}; 0 if expected" if plain != "0" and kind in ENDS else plain


def _fields(fields: Iterable[Any]) -> str:
    return _table(("field", "meaning"), ((f"`{field.name}`", field.doc) for field in fields))


def _table(heads: tuple[str, ...], rows: Iterable[Iterable[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, *rows)]
    return "\n".join((lines[0], "|---" * len(heads) + "|", *lines[1:], ""))


def main(arguments: list[str]) -> int:
    """Write the pages; with ``--check`` only say which of them lack something."""
    behind = []
    for name, wanted in parts().items():
        page = DOCS / name
        before = page.read_text()
        after = written(before, wanted)
        if after != before:
            behind.append(name)
            if "--check" not in arguments:
                page.write_text(after)
    if behind and "--check" in arguments:
        print(f"behind the code: {', '.join(f'docs/{name}' for name in behind)}: run make docs", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
