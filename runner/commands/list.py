"""List the machines that run: those that vmrun SPEC started, and those of runner.start(control=True)."""

import argparse
import json
from collections.abc import Sequence

from runner.control.client import Status, running
from runner.control.command import STATUSES, reported
from vmspec.host.printable import printable
from vmspec.schema.units import format_size

HEADS = ("NAME", "PID", "STATE", "VCPUS", "MEMORY", "TIME", "EXITS", "SPEC")
RIGHT = (False, True, False, True, True, True, True, False)

__all__ = ["STATUSES", "prepare", "run"]


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print a JSON array, with an object for each machine")


def run(options: argparse.Namespace) -> int:
    """List them; return the exit status."""

    def show() -> None:
        found = running()
        if options.json:
            print(json.dumps([status._asdict() for status in found], indent=2))
        else:
            _table([HEADS, *map(_row, found)])

    return reported(show)


def _row(status: Status) -> tuple[str, ...]:
    known = status.state != "silent"
    numbers = (str(status.vcpus), format_size(status.memory), _time(status.seconds), f"{status.exits:,}")
    return (
        printable(status.name),
        str(status.pid or "?"),
        status.state,
        *(numbers if known else ("?",) * len(numbers)),
        printable((status.spec or "-").replace("\0", "\\x")) if known else "?",
    )


def _table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, RIGHT, strict=True)
        )
        print("  ".join(cells).rstrip())


def _time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
