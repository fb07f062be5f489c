"""``vmspec check``: every problem in specs and their images."""

import argparse
import sys

from vmspec.commands.arguments import overrides
from vmspec.document import Document
from vmspec.host.printable import printable
from vmspec.schema.problems import SpecError


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("specs", nargs="+", metavar="SPEC", help="a spec, a TOML file")
    overrides(parser)


def run(options: argparse.Namespace) -> int:
    """Check each; return the exit status."""
    status = 0
    for path in options.specs:
        try:
            combinations = Document.open(path, options.set).combinations().values()
            for document in combinations:
                document.plan()
            count = f" ({len(combinations):,} combinations of its matrix)" if len(combinations) > 1 else ""
            print(printable(f"{path}: ok{count}"))
        except SpecError as error:
            print(error, file=sys.stderr)
            status = 2
    return status
