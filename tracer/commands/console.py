"""``vmtrace console``: the guest's output; byte for byte unless it goes to a terminal."""

import argparse
import codecs
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tracer.read.console import LINE_MAX, Console
from tracer.read.reader import load
from tracer.read.sent import Piece
from vmspec.host.printable import printable


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", type=Path, help="the trace: an .arrow or .arrows file")
    parser.add_argument(
        "--device",
        help="one serial port, debug port or port of a virtio console; default: the first, with others that print to "
        "the same place",
    )
    parser.add_argument("--raw", action="store_true", help="print escape sequences unchanged, also on a terminal")


def run(options: argparse.Namespace) -> int:
    """Write the text to standard output."""
    trace = load(options.file)
    pieces = Console(trace, trace.devices, options.device).pieces()
    if sys.stdout.isatty() and not options.raw:
        for text in escaped(pieces):
            sys.stdout.write(text)
        return 0
    for piece in pieces:
        sys.stdout.buffer.write(piece.data)
    return 0


def escaped(pieces: Iterable[Piece]) -> Iterator[str]:
    """The text for a terminal: line ends and tabs as they are, escapes for everything else that would act on it."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    held = ""
    for piece in pieces:
        *lines, held = (held + decoder.decode(piece.data)).split("\n")
        for line in lines:
            yield _line(line.rstrip("\r")) + "\n"
        if len(held) > LINE_MAX:
            yield _line(held)
            held = ""
    yield _line(held + decoder.decode(b"", final=True))


def _line(text: str) -> str:
    return "\t".join(map(printable, text.split("\t")))
