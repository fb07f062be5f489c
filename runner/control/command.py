"""What the commands that control a machine share: their arguments, exit statuses and messages."""

import argparse
from collections.abc import Callable

from runner.control.client import Control, Ended, connect
from runner.control.errors import ControlError
from vmspec.host.commandline import complain

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
SECONDS = 60.0  # to wait for the end of a run

STATUSES = """exit status:
    0  the machine did it
    1  the machine could not do it, or does not answer
    2  the command line is wrong, or no machine of that name runs
  130  interrupted"""


def name_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument NAME."""
    parser.add_argument("name", metavar="NAME", help="a machine's name, as vmrun list shows it")


def timeout_option(parser: argparse.ArgumentParser) -> None:
    """Add the option --timeout."""
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=seconds, default=SECONDS,
        help=f"wait at most so long for the end of the run; default: {SECONDS:g}",
    )  # fmt: skip


def seconds(text: str) -> float:
    """An argument in seconds. Raises ArgumentTypeError."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 < found <= 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, from more than 0 to 1,000,000")
    return found


def reported(act: Callable[[], None]) -> int:
    """Do it; return the exit status, and print what went wrong."""
    try:
        act()
    except ControlError as error:
        complain("vmrun", error)
        return WRONG if error.kind in ("name", "argument") else FAILED
    except KeyboardInterrupt:
        complain("vmrun", "interrupted")
        return INTERRUPTED
    return DONE


def controlled(name: str, act: Callable[[Control], None]) -> int:
    """Connect to a machine and do it; return the exit status, and print what went wrong."""

    def connected() -> None:
        with connect(name) as control:
            act(control)

    return reported(connected)


def show_end(name: str, ended: Ended) -> None:
    """Print how a run ended."""
    print(f"{name}: {ended.kind}, exit status {ended.status}")
