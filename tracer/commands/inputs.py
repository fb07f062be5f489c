"""``vmtrace inputs``: the machine's inputs from outside, stamped with time and exits."""

import argparse
from pathlib import Path
from typing import Any

from tracer.analysis.inputs import by_kind, in_order, inputs_of, schemas
from tracer.read.reader import load
from tracer.show.output import add_formats, show


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", type=Path, help="the trace; its inputs are the .inputs.arrow beside it")
    add_formats(parser)


def tables() -> dict[str, Any]:
    """The schemas of the tables, for ``vmtrace columns``."""
    return {"inputs": schemas()}


def run(options: argparse.Namespace) -> int:
    """Print the tables."""
    inputs = inputs_of(load(options.file))
    head = (
        "" if inputs.complete else "inputs may be missing at the end: the run continues, was killed, or was recovered"
    )
    show({"kinds": by_kind(inputs), "inputs": in_order(inputs)}, options, head)
    return 0
