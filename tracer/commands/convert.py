"""``vmtrace convert``: convert a trace, or a table beside it, to another file format."""

import argparse
from pathlib import Path

from tracer.export.convert import KINDS, convert
from vmspec.host.printable import printable
from vmspec.trace.files import beside, exists


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "file", metavar="FILE", type=Path, help="a trace, or a table beside one: .arrow, .arrows, .parquet"
    )
    parser.add_argument(
        "output", metavar="OUT", type=Path, help=f"the file to write; its name ends in {', '.join(KINDS)}"
    )


def run(options: argparse.Namespace) -> int:
    """Convert, and report the rows."""
    rows = convert(options.file, options.output)
    lost = "; the metadata and the closing summary are not included" if options.output.suffix == ".csv" else ""
    for file in filter(exists, beside(options.file)):
        lost += f"; {file} is not included"
    print(printable(f"{options.output}: {rows:,} rows, {options.output.stat().st_size:,} bytes{lost}"))
    return 0
