"""Kill the process of a machine, also if it does not answer, and wait until it has ended. Its recorder completes the
trace. A program that runs several machines ends as a whole."""

import argparse

from runner.control.client import kill
from runner.control.command import STATUSES, name_argument, reported

__all__ = ["STATUSES", "prepare", "run"]


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    name_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Kill it; return the exit status."""
    return reported(lambda: print(f"{options.name}: killed process {kill(options.name)}"))
