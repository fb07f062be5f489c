"""The command line parser of all commands: help as wide as the terminal, and messages whose text cannot act on it."""

import argparse
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from vmspec.host.printable import printable
from vmspec.host.streams import USUAL, abandon, columns
from vmspec.host.wrapping import wrapped

# argparse looks for translations of its texts, of which there are none: 2 ms, a third of it for importing locale.
argparse._ = str  # type: ignore[attr-defined]

OURS = ("vmspec", "runner", "tracer")  # packages whose warnings are for the user of a command


class Parser(argparse.ArgumentParser):
    """A parser whose help is as wide as the terminal, and whose messages show arguments with escapes.

    Description and epilog are paragraphs. In one with an indented line, each line stays a line if it fits.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # With a width given, argparse does not query the terminal, which imports much.
        width = columns() or USUAL
        options["formatter_class"] = lambda prog: _Formatter(prog, width=width)
        super().__init__(*arguments, **options)
        self.rest: str | None = None  # where the words after "--" go; None: they are positional arguments

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """The options and arguments; the words after "--" stay as they are if they have a destination."""
        if self.rest is None or args is None or "--" not in args:
            return super().parse_known_args(args, namespace)
        at = args.index("--")
        parsed, unknown = super().parse_known_args(args[:at], namespace)
        setattr(parsed, self.rest, args[at + 1 :])
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        super().error(printable(message))


class _Formatter(argparse.HelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip("\n").split("\n\n")
        fill = super()._fill_text
        return "\n\n".join(_lines(one, width) if "\n " in one else fill(one, width, indent) for one in paragraphs)


def _lines(text: str, width: int) -> str:
    """Lines of " word description"; a description that is too long continues below itself."""
    fitted = []
    for line in text.splitlines():
        head = re.match(r" *\S+ +", line) if line.startswith(" ") else None
        indent = len(line) - len(line.lstrip(" "))
        fitted += wrapped(line, width, hang=len(head[0]) - indent if head else 0)
    return "\n".join(fitted)


def count(text: str) -> int:
    """An argument that is a number of at least 1. Raises ArgumentTypeError."""
    if not text.isascii() or not text.isdecimal() or not 0 < int(text[:9]) < 10_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 9,999,999")
    return int(text)


@contextmanager
def warned(program: str) -> Iterator[None]:
    """Print our warnings on standard error, a line each, as they come; others' stay Python's."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *rest: Any, **options: Any) -> None:
            if category.__module__.partition(".")[0] in OURS:
                complain(program, message)
            else:
                usual(message, category, *rest, **options)

        warnings.showwarning = show
        yield


def complain(program: str, *lines: object) -> None:
    """Print what is wrong on standard error, a line each."""
    try:
        for line in lines:
            print(f"{program}: {printable(line)}", file=sys.stderr)
    except (OSError, ValueError):  # its terminal was closed, or a device has closed it
        abandon(sys.stderr)
