"""``vmspec show``: the resolved spec as TOML."""

import argparse
import sys

from vmspec.commands.arguments import document, spec
from vmspec.show.dump import dumps


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    spec(parser)


def run(options: argparse.Namespace) -> int:
    """Print it. TOML is UTF-8 in any locale; in another one, only the characters that both share are printed."""
    ascii = not (sys.stdout.encoding or "").lower().startswith("utf")
    print(dumps(document(options).spec(), ascii=ascii), end="")
    return 0
