"""``vmtrace recover``: make a trace from the files of a killed run."""

import argparse
from pathlib import Path

from tracer.read.recovery import recover
from vmspec.host.commandline import complain
from vmspec.host.printable import printable
from vmspec.trace.files import exists, table_path, unfinished


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", type=Path, help="the trace, its .arrows or its .ring")
    parser.add_argument("-o", "--output", type=Path, help="default: the .arrow beside them")


def run(options: argparse.Namespace) -> int:
    """Recover, and report the result."""
    done = recover(options.file, options.output)
    for problem in done.problems:
        complain("vmtrace", problem)
    state = "complete" if done.complete else "everything recorded before the run was killed"
    rows = f"{done.rows_from_stream + done.rows_from_ring:,} rows ({done.rows_from_ring:,} of them from the rings)"
    print(printable(f"{done.path}: {rows}, {'incomplete' if done.problems else state}"))
    for name, count in done.tables.items():
        print(printable(f"{table_path(done.path, name)}: {count:,} rows"))
    left = [str(path) for path in unfinished(options.file) if exists(path)]
    if left and not done.problems:
        print(printable(f"no longer needed: {' '.join(left)}"))
    return 0
