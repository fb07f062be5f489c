"""``vmspec import``: a spec from another tool's configuration."""

import argparse
from pathlib import Path

from vmspec.exchange import READERS, importing
from vmspec.host.commandline import Parser


def prepare(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.rest = "words"
    parser.add_argument("tool", choices=READERS, metavar="TOOL", help=f"one of {', '.join(READERS)}")
    parser.add_argument(
        "source",
        nargs="?",
        metavar="FILE",
        help="a script with the command, or the tool's own file; - is standard input; or give a command after --",
    )
    parser.add_argument("-o", "--output", metavar="SPEC", type=Path, help="write into SPEC; default: standard output")
    parser.add_argument("--strict", action="store_true", help="write nothing if anything has no counterpart in a spec")
    parser.set_defaults(words=None, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Write the spec; return the exit status."""
    if (options.source is None) == (options.words is None):
        options.parser.error("give either FILE or a command after --")
    return importing.run(options.tool, options.source, options.words, options.output, options.strict)
