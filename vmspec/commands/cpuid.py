"""``vmspec cpuid``: a CPU model, a table of this host's CPUID, or one that several hosts support."""

import argparse
from pathlib import Path

from vmspec.lock import cpuid


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write into FILE, for cpu.model in a spec")
    parser.add_argument(
        "--common",
        nargs="+",
        metavar="FILE",
        type=Path,
        help="write the largest model that the hosts of these models all support",
    )


def run(options: argparse.Namespace) -> int:
    """Write it; return the exit status."""
    return cpuid.run(options.common, options.output)
