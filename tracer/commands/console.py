"""``vmtrace console``: what the guest printed, byte for byte."""

import argparse
import sys
from pathlib import Path

from tracer.console import Console
from tracer.reader import load


def prepare(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("file", type=Path)
    parser.add_argument("--device", help="serial or debug port; default: the first")


def run(options: argparse.Namespace) -> int:
    """Write the text to standard output."""
    trace = load(options.file)
    for piece in Console(trace, trace.devices, options.device).pieces():
        sys.stdout.buffer.write(piece.data)
    return 0
