"""``vmspec unbundle``: the files of a bundle, in a folder."""

import argparse
from pathlib import Path

from vmspec.bundle import command


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="the bundle")
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=Path, help="a new folder; default: BUNDLE's name without .vmz"
    )


def run(options: argparse.Namespace) -> int:
    """Unpack it; return the exit status."""
    return command.read(options.bundle, options.output)
