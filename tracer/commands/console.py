"""``vmtrace console``: what the guest printed, byte for byte."""

import argparse
import sys
from pathlib import Path

from tracer.reader import load


def prepare(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("file", type=Path)
    parser.add_argument("--device", help="serial or debug port; default: the first")


def run(options: argparse.Namespace) -> int:
    """Write the text to standard output."""
    sys.stdout.buffer.write(load(options.file).console(options.device))
    return 0
