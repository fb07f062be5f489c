"""``vmtrace info``: what was run, where, and whether the trace is complete."""

import argparse
from pathlib import Path

from tracer.output import pairs, printable
from tracer.reader import load


def prepare(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("file", type=Path)


def run(options: argparse.Namespace) -> int:
    """Print the metadata."""
    trace = load(options.file)
    rows = sum(batch.num_rows for batch in trace.batches(["seq"]))
    facts = {"rows": f"{rows:,}", "complete": "yes" if trace.complete else "no"}
    facts |= {key: value for key, value in trace.metadata.items() if "\n" not in value}
    print(pairs(facts))
    for key, value in trace.metadata.items():
        if "\n" in value:
            print(f"\n{printable(key)}")
            print("\n".join(f"  {printable(line)}" for line in value.splitlines()))
    return 0
