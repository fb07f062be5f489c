"""``vmspec keys``: every table and key of a spec."""

import argparse

from vmspec.host.streams import columns
from vmspec.show import reference


def prepare(parser: argparse.ArgumentParser) -> None:
    """The command has no arguments."""


def run(options: argparse.Namespace) -> int:
    """Print them."""
    print(reference.text(columns()), end="")
    return 0
