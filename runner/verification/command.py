"""``vmrun --verify``: whether a spec's runs are the same."""

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from runner.machine.result import OK, UNMET, UNRECORDED, WRONG, Result
from runner.session.given import Given
from runner.verification.verdict import Verdict
from runner.verification.verifying import Options, verify
from vmspec.host.commandline import complain
from vmspec.host.pathtext import to_text
from vmspec.host.printable import printable
from vmspec.host.streams import abandon

FOLDER = Path("vmrun-verify")
SEEDS = 1_000_000


def perform(arguments: argparse.Namespace, overrides: Sequence[str], notice: Callable[[str], None]) -> int:
    """Verify the spec that the arguments name, print the verdict, return the exit status. Raises what
    :func:`runner.verification.verifying.verify` raises, but no OSError."""
    if wrong := _wrong(arguments):
        complain("vmrun", wrong)
        return WRONG
    given = Given.of(arguments.spec, overrides, arguments.images, notice)
    seed = arguments.seed or random.randrange(1, SEEDS)
    keep = arguments.keep is not None
    locked = arguments.locked or arguments.into_lock
    folder = arguments.keep if keep else FOLDER
    how = Options(arguments.verify, seed, folder, keep, locked, arguments.unlocked, arguments.every or 0)
    lock = None
    if locked:
        from runner.verification.locked import LockedVerdict  # late: it imports the models

        lock = LockedVerdict(given.plan)
    try:
        verdict = verify(given, how, notice, progress)
        _print(verdict, arguments.json)
        if lock is not None and arguments.into_lock:
            what = "has the verdict now" if lock.put(verdict) else "is unchanged: the runs differ"
            complain("vmrun", f"{lock.path} {what}")
    except OSError as error:
        complain("vmrun", f"{error.filename}: {error.strerror}")
        return UNRECORDED
    if lock is None or arguments.into_lock:
        return verdict.status
    changes = tuple(lock.changes(verdict))
    complain("vmrun", *changes)
    return verdict.status or (UNMET if changes else OK)


def progress(run: int, result: Result) -> None:
    """Print how a run has ended."""
    exits = sum(count for reason, count in result.counters.items() if reason != "dropped")
    complain("vmrun", f"run {run}: {result.kind} after {result.seconds:.2f} s; {exits:,} exits")


def _wrong(arguments: argparse.Namespace) -> str | None:
    """What is wrong with the options together."""
    if arguments.verify < 2:
        return "--verify compares runs: give a number of at least 2"
    for name in ("trace", "no_trace", "name", "gdb"):
        if getattr(arguments, name):
            given = f"--{name.replace('_', '-')}"
            return f"{given} is for one run, and --verify makes several; --keep DIR keeps their traces"
    if arguments.into_lock and arguments.unlocked:
        return "--into-lock is for runs that agree with their lock, and --unlocked allows others"
    return None


def _print(verdict: Verdict, as_json: bool) -> None:
    try:
        if as_json:
            values = verdict._asdict()
            for name in ("difference", "parted"):
                if values[name] is not None:
                    values[name] = values[name]._asdict()
            print(json.dumps(values, default=to_text, indent=2), flush=True)
        else:
            print("\n".join(map(printable, verdict.lines())), flush=True)
    except OSError:
        abandon(sys.stdout)
