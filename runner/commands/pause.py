"""Pause a running machine until vmrun resume. Its guest's clocks stop, and so does vm.timeout."""

import argparse

from runner.control.command import STATUSES, controlled, name_argument

__all__ = ["STATUSES", "prepare", "run"]


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    name_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Pause it; return the exit status."""
    return controlled(options.name, lambda control: control.pause())
