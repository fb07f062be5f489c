"""Press a magic SysRq key of a machine, by a console of its guest's: t prints every task, b restarts at once. Linux
takes the keys that kernel.sysrq allows. The command does not wait for the guest."""

import argparse

from runner.control.command import STATUSES, controlled, name_argument

__all__ = ["STATUSES", "prepare", "run"]


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    name_argument(parser)
    parser.add_argument("key", metavar="KEY", help="one letter or digit; h prints what there is")
    parser.add_argument(
        "--device", metavar="NAME", default="",
        help="the guest's console, such as serial1 or virtio-console0; default: the first serial port",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Press it; return the exit status."""
    return controlled(options.name, lambda control: control.sysrq(options.key, options.device))
