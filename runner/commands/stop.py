"""End a run, as Ctrl-A x does at its terminal, and wait until its trace is complete. The run's exit status is 130. To
let the guest power off by itself, press its power button instead."""

import argparse

from runner.control.command import STATUSES, controlled, name_argument, show_end, timeout_option

__all__ = ["STATUSES", "prepare", "run"]


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    name_argument(parser)
    timeout_option(parser)


def run(options: argparse.Namespace) -> int:
    """Stop it; return the exit status."""
    return controlled(options.name, lambda control: show_end(options.name, control.stop(options.timeout)))
