"""``vmtrace sql``: SQL statements, answered by DuckDB."""

import argparse
from pathlib import Path
from typing import Any

from tracer.analysis.database import VIEWS, every, query, schemas
from tracer.read.reader import load
from tracer.show.output import add_formats, show


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", metavar="FILE", type=Path, help="the trace: an .arrow or .arrows file")
    parser.add_argument(
        "statement",
        metavar="SQL",
        help=f"over the views {', '.join((*every(), *VIEWS, 'console', 'pauses'))}; times in ns",
    )
    add_formats(parser)


def tables() -> dict[str, Any]:
    """The schemas of the tables, for ``vmtrace columns``."""
    return {"sql": schemas()}


def run(options: argparse.Namespace) -> int:
    """Print the result."""
    show({"result": query(load(options.file), options.statement)}, options)
    return 0
