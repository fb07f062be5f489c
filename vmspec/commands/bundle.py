"""``vmspec bundle``: a spec and every file that its run reads, in one file."""

import argparse
from pathlib import Path

from vmspec.bundle import command
from vmspec.commands.arguments import document, spec


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    spec(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="the bundle, FILE.vmz; default: SPEC's name with .vmz"
    )
    parser.add_argument("--reference", metavar="TRACE", type=Path, help="also pack a trace, to compare runs with")


def run(options: argparse.Namespace) -> int:
    """Write it; return the exit status."""
    return command.write(document(options), options.output, options.reference)
