"""``vmtrace merge``: several traces as one, in the order of the host's time."""

import argparse
from pathlib import Path

from tracer.analysis.merge import merge
from tracer.format.errors import TraceError
from tracer.format.paths import keep, read_files
from tracer.read.reader import load
from vmspec.host.printable import printable
from vmspec.trace.files import TRACE, beside, table_path


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help="traces of machines that ran on one host")
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="the trace to write")
    parser.add_argument(
        "--by-start", action="store_true", help="align the machines' starts, for traces of different hosts"
    )


def run(options: argparse.Namespace) -> int:
    """Merge, and report the result."""
    if len(options.files) < 2:
        raise TraceError("give two or more traces")
    for written in read_files(options.output):
        keep(written, (read for file in options.files for read in read_files(file)))
    rows = merge([load(file) for file in options.files], options.output, by_start=options.by_start)
    new = {table_path(options.output, table) for table in rows}
    for old in beside(options.output):
        # A finished table of the trace that was here before. A stream may be of a run that continues, or was killed.
        if old.suffix == ".arrow" and old not in new:
            old.unlink(missing_ok=True)
    print(printable(f"{options.output}: {rows.pop(TRACE):,} rows of {len(options.files)} traces"))
    for table, count in rows.items():
        print(printable(f"{table_path(options.output, table)}: {count:,} rows"))
    return 0
