"""Send a non-maskable interrupt to all vCPUs of a machine, or to one. A kernel that hangs with interrupts off still
takes it. The machine stands still for a moment."""

import argparse

from runner.control.command import STATUSES, controlled, name_argument

__all__ = ["STATUSES", "prepare", "run"]


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    name_argument(parser)
    parser.add_argument("--vcpu", metavar="N", type=int, help="only to this vCPU; the first is 0")


def run(options: argparse.Namespace) -> int:
    """Send it; return the exit status."""
    return controlled(options.name, lambda control: control.nmi(options.vcpu))
