"""``vmtrace summary``: exits by reason, by device and address; where the time went."""

import argparse
from pathlib import Path

from tracer.reader import load
from tracer.report import as_json, as_text
from tracer.summary import summarise


def prepare(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.add_argument("--all", action="store_true", help="every row of every table")


def run(options: argparse.Namespace) -> int:
    """Print the summary."""
    trace = load(options.file)
    summary = summarise(trace.table, trace.summary, trace.devices)
    print(as_json(summary) if options.json else "\n\n".join(as_text(summary, options.all)))
    return 0
