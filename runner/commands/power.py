"""Press a machine's power button, so that its guest shuts down in order and powers off, if it handles the button. The
spec needs the device acpi. The command does not wait for the guest."""

import argparse

from runner.control.command import STATUSES, controlled, name_argument

__all__ = ["STATUSES", "prepare", "run"]


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    name_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Press it; return the exit status."""
    return controlled(options.name, lambda control: control.power_button())
