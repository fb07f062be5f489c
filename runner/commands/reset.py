"""Press a machine's reset button. A reset ends a run, whoever asks for it: the run ends as reset, and its trace is
complete."""

import argparse

from runner.control.command import STATUSES, controlled, name_argument, show_end, timeout_option

__all__ = ["STATUSES", "prepare", "run"]


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    name_argument(parser)
    timeout_option(parser)


def run(options: argparse.Namespace) -> int:
    """Reset it; return the exit status."""
    return controlled(options.name, lambda control: show_end(options.name, control.reset(options.timeout)))
