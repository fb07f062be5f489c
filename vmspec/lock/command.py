"""``vmspec lock``: write a spec's lock, or compare with it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from vmspec.host.commandline import complain
from vmspec.host.printable import printable
from vmspec.host.progress import progress
from vmspec.lock import images, taking
from vmspec.lock.drift import Change, compare
from vmspec.lock.host import HostUnknownError, facts
from vmspec.lock.text import LockText, write
from vmspec.plan.plan import Plan
from vmspec.schema.tables import write_model
from vmspec.spec.fileuse import lock_path

Mode = Literal["write", "update", "check", "diff"]

CHANGED, UNKNOWN = 1, 3  # exit statuses
LONG = 256 << 20  # bytes of images that take a while to hash
WEIGHTS = {"must": "must be the same", "may": "may change a boot", "info": "for information only"}


def run(plan: Plan, spec: Path, mode: Mode) -> int:
    """Do what ``mode`` says; return the exit status. Raises SpecError for a wrong lock and for files that cannot be
    read, OSError if the lock cannot be written."""
    path = lock_path(spec)
    before = LockText.open(path) if mode in ("check", "diff") or (mode == "write" and _exists(path)) else None
    try:
        host = facts(plan.cpu)
    except HostUnknownError as error:
        complain("vmspec", error)
        return UNKNOWN
    total = sum(images.size(path) for path in {image.path for image in taking.of(plan)})
    with progress("hashing", total, LONG) as advance:
        lock = taking.take(plan, write_model(host), advance).lock
    if before is None:
        write(path, lock, spec.name)
        count = "1 image" if len(lock.images) == 1 else f"{len(lock.images)} images"
        print(printable(f"{path}: {count}, {len(host.must.cpuid)} leaves of CPUID"))
        return 0
    changes = compare(before.lock, lock)
    match mode:
        case "check":
            say(before, changes)
            return CHANGED if any(change.weight == "must" for change in changes) else 0
        case "diff":
            _differ(changes)
            return CHANGED if changes else 0
    if not changes:
        print(printable(f"{path}: is up to date"))
        return 0
    say(before, changes)
    complain("vmspec", f"{path} is unchanged; to replace it: vmspec lock --update {spec}")
    return CHANGED


def _exists(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def say(before: LockText, changes: Sequence[Change]) -> None:
    """Print a line for each change, and how many there are."""
    for change in changes:
        print(f"{before.changed(change)}; {WEIGHTS[change.weight]}")
    count = {weight: sum(change.weight == weight for change in changes) for weight in WEIGHTS}
    counted = ", ".join(f"{number} {WEIGHTS[weight]}" for weight, number in count.items() if number)
    print(printable(f"{before.file}: {f'differs: {counted}' if changes else 'is up to date'}"))


def _differ(changes: Sequence[Change]) -> None:
    """Print old and new of each change, whole."""
    for change in changes:
        note = f", {change.note}" if change.note else ""
        print(printable(f"{change.name} ({WEIGHTS[change.weight]}{note})"))
        for sign, text in (("-", change.old), ("+", change.new)):
            if text is not None:
                print(printable(f"{sign} {text}"))
