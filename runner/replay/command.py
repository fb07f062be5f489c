"""``vmrun --replay``: whether a recording runs again."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence

from runner import signals
from runner.machine.result import INTERRUPTED, OK, TIMED_OUT, UNMET, WRONG
from runner.replay.recording import Recording
from runner.replay.replaying import Replayed, replay
from runner.session.given import Given
from vmspec.host.commandline import complain
from vmspec.host.printable import printable
from vmspec.host.streams import abandon

REGISTERS_SHOWN = 18  # the general ones
OTHERS = ("verify", "trace", "no_trace", "name", "locked", "unlocked")


def perform(
    arguments: argparse.Namespace,
    overrides: Sequence[str],
    notice: Callable[[str], None],
    gdb: str | tuple[int, int] | None,
) -> int:
    """Replay the trace that the arguments name, print the result, return the exit status. ``gdb``: where a debugger is,
    an address or two descriptors; standard output is its then, and the result goes to standard error. Raises what a run
    of a trace raises."""
    for name in OTHERS:
        if getattr(arguments, name):
            complain("vmrun", f"--{name.replace('_', '-')} is for a run, and --replay makes none")
            return WRONG
    recording = Recording.of(arguments.spec)
    given = Given.replayed(arguments.spec, overrides, arguments.images, notice)
    found = replay(recording, given.plan, arguments.until, signals.asked, gdb, notice)
    stream = sys.stderr if isinstance(gdb, tuple) else sys.stdout
    try:
        print(_json(found) if arguments.json else "\n".join(map(printable, lines(found))), flush=True, file=stream)
    except OSError:
        abandon(stream)
    if found.mismatch is not None:
        return UNMET
    if found.ended:
        return INTERRUPTED if signals.asked() else TIMED_OUT
    return OK


def lines(found: Replayed) -> Iterator[str]:
    """The result in a few lines."""
    if found.mismatch is not None:
        yield f"exit {found.mismatch.exit:,} of {found.recorded:,} is not as recorded:"
        for name, (recorded, replayed) in found.mismatch.differs.items():
            yield f"  {name}: recorded {recorded}, replayed {replayed}"
        match found.mismatch.interrupt:
            case (exit, vector):
                yield f"the last interrupt: vector {vector:#x} after exit {exit:,}"
            case None:
                yield "the guest had taken no interrupt"
        yield from _registers(found)
    elif found.ended:
        yield f"undecided after {found.exits:,} of {found.recorded:,} exits: {found.ended}"
    elif found.exits < found.recorded:
        yield f"the first {found.exits:,} of {found.recorded:,} exits are as recorded"
        yield from _registers(found)
    else:
        yield f"all {found.exits:,} exits are as recorded"


def _registers(found: Replayed) -> Iterator[str]:
    names = list(found.registers.items())[:REGISTERS_SHOWN]
    for at in range(0, len(names), 3):
        yield "  " + "  ".join(f"{name:>6} {value:016x}" for name, value in names[at : at + 3])


def _json(found: Replayed) -> str:
    values = found._asdict()
    if found.mismatch is not None:
        values["mismatch"] = found.mismatch._asdict()
    return json.dumps(values, indent=2)
