"""``vmtrace inputs``: the machine's inputs from outside, stamped with time and exits."""

import argparse
from pathlib import Path
from typing import Any

from tracer.analysis.inputs import by_kind, listed, schemas
from tracer.read.reader import load
from tracer.show.output import add_formats, show
from vmspec.trace.inputs import INPUTS


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", type=Path, help="the trace; its inputs are the .inputs.arrow beside it")
    add_formats(parser)


def tables() -> dict[str, Any]:
    """The schemas of the tables, for ``vmtrace columns``."""
    return {"inputs": schemas()}


def run(options: argparse.Namespace) -> int:
    """Print the tables."""
    inputs = load(options.file).tables.need(INPUTS.name)
    head = (
        "" if inputs.complete else "inputs may be missing at the end: the run continues, was killed, or was recovered"
    )
    show({"kinds": by_kind(inputs), "inputs": listed(inputs)}, options, head)
    return 0
