"""Copies of a machine that runs: :func:`fork`."""

import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from runner.session.beside import Run, start
from runner.snapshot.errors import SnapshotError
from runner.snapshot.planning import generation
from runner.snapshot.taking import write, written_file
from vmspec.plan.plan import Plan


def fork(
    run: Run,
    count: int,
    *,
    seed: int | None = None,
    overrides: Callable[[int], Sequence[str]] = lambda number: (),
    notice: Callable[[str], None] = lambda text: None,
) -> tuple[Run, ...]:
    """Start ``count`` copies of the machine of a run, each in threads of its own, and return them; the run goes on.

    A copy has the guest's memory copied on write, and devices of its own. Copy number n, from 0, has the seed
    ``seed`` + n in each of its seeded entropy devices, and its ``vmgenid`` has a generation that follows from that and
    from the machine's; None: random seeds. ``overrides`` returns what else changes in it, as :func:`runner.run` takes
    them with ``restore``: a trace's path, for example.

    Raises ``runner.SnapshotError`` if the machine cannot be saved, has ended, or writes to a disk or a file that copies
    would share, and what :func:`runner.start` raises; no copy runs then.
    """
    machine = run._session.machine
    for index, device in enumerate(machine.plan.devices):
        if (path := written_file(device)) is not None:
            raise SnapshotError(f'device[{index}].path: copies would all write to {path}; give mode = "overlay"')
        if any(isinstance(end.output, Path) for end in device.ends):
            raise SnapshotError(f"device[{index}].output: copies would all write to it; the text is in their results")
    first = secrets.randbits(32) << 16 if seed is None else seed
    descriptor = os.memfd_create("vmrun-fork", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb", buffering=0) as file, ExitStack() as stack:
        with machine.standing() as stands:
            if not stands:
                raise SnapshotError("the run has ended: it cannot be copied")
            write(machine, file)
        copies = []
        for number in range(count):
            changes = (*_seeds(machine.plan, (first + number) % (1 << 64)), *overrides(number))
            copy = start(Path(f"/proc/self/fd/{descriptor}"), restore=True, overrides=changes, notice=notice)
            stack.callback(_end, copy)
            copies.append(copy)
        stack.pop_all()
    return tuple(copies)


def _seeds(plan: Plan, seed: int) -> tuple[str, ...]:
    """The overrides that give a machine's entropy devices a seed, as far as they have one, and its guest a generation
    of its own."""
    changes = []
    for index, device in enumerate(plan.devices):
        match device.kind, device.options:
            case "virtio-rng", {"seed": int()}:
                changes.append(f"device[{index}].seed={seed}")
            case "vmgenid", {"generation": str(before)}:
                after = generation(before, seed.to_bytes(8, "little"))
                changes.append(f"device[{index}].generation='{after}'")
    return tuple(changes)


def _end(run: Run) -> None:
    run.stop()
    run.result()
