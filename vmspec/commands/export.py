"""``vmspec export``: another tool's configuration of a spec's machine."""

import argparse
from pathlib import Path

from vmspec.commands.arguments import document, spec
from vmspec.exchange import WRITERS, exporting


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    spec(parser)
    tools = parser.add_mutually_exclusive_group(required=True)
    for tool in WRITERS:
        tools.add_argument(f"--{tool}", dest="tool", action="store_const", const=tool, help=f"for {tool}")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write into FILE; default: standard output")
    parser.add_argument("--strict", action="store_true", help="write nothing if the tool cannot express all of it")


def run(options: argparse.Namespace) -> int:
    """Write it; return the exit status."""
    given = document(options)
    return exporting.run(options.tool, given.spec(), given.locate, options.output, options.strict)
