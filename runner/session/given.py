"""What a run is given: a spec, a plan, or the path of a spec's file, of a bundle or of a trace."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runner import signals
from vmspec import bundle, kept
from vmspec.plan.plan import Plan
from vmspec.schema.problems import Problem, SpecError
from vmspec.spec import fileuse

if TYPE_CHECKING:
    from runner.snapshot.restoring import Restoring
    from vmspec.lock.text import LockText
    from vmspec.spec.models import Spec

TRACES = (".arrow", ".arrows")  # by which the file of a trace is known


class Given(NamedTuple):
    """What a run was given: its plan, a function that keeps it for the next run, and the lock that came with it. With
    ``lenient`` the run may differ from that. ``release`` is called after the run, which may need files of the cache."""

    plan: Plan
    keep: Callable[[], None] = lambda: None
    lock: "LockText | None" = None
    lenient: bool = False
    release: Callable[[], None] = lambda: None
    restoring: "Restoring | None" = None  # the machine goes on from a snapshot

    @classmethod
    def of(
        cls,
        spec: "Spec | Plan | Path | str",
        overrides: Sequence[str] | str,
        images: Sequence[Path | str],
        notice: Callable[[str], None],
    ) -> "Given":
        """What :func:`runner.run` was given, by its arguments of these names. Raises SpecError; TypeError if there are
        overrides and no file."""
        if isinstance(spec, str | os.PathLike):
            return _file(Path(spec), overrides, images, notice)
        if overrides:
            raise TypeError("overrides are for a spec's file: give its path, or change the Spec with attrs.evolve()")
        if isinstance(spec, Plan):
            for where, message in fileuse.conflicts(fileuse.uses(spec.names)):
                raise SpecError((Problem(where, message),))
            return cls(spec)
        from vmspec.planner import plan

        return cls(plan(spec))

    @classmethod
    def restored(cls, path: Path, overrides: Sequence[str] | str) -> "Given":
        """The same for a machine that goes on from a snapshot. Raises SpecError, SnapshotError."""
        from runner.snapshot.restoring import Restoring  # late: few runs are restored

        restoring = Restoring(path, overrides)
        return cls(restoring.plan, release=restoring.close, restoring=restoring)

    @classmethod
    def replayed(
        cls,
        trace: Path,
        overrides: Sequence[str] | str,
        images: Sequence[Path | str],
        notice: Callable[[str], None],
    ) -> "Given":
        """The same for the replay of a trace, which has the devices' answers: only the images that the guest's memory
        is loaded from are needed. Raises SpecError."""
        return _trace(trace, overrides, images, notice, devices=False)


def _file(
    path: Path, overrides: Sequence[str] | str, images: Sequence[Path | str], notice: Callable[[str], None]
) -> Given:
    if path.suffix in TRACES:
        return _trace(path, overrides, images, notice, devices=True)
    if images:
        raise SpecError((Problem("", "is not a trace, and --images is for traces only", file=path),))
    if path.suffix == bundle.SUFFIX:
        from vmspec.bundle.cached import prepare

        with signals.impatient():
            bundled = prepare(path, overrides, notice, _go_on)
        return Given(bundled.plan, lock=bundled.lock, release=bundled.release)
    return Given(*kept.plan(path, overrides))


def _trace(
    path: Path,
    overrides: Sequence[str] | str,
    images: Sequence[Path | str],
    notice: Callable[[str], None],
    devices: bool,
) -> Given:
    from runner.session.rerun import prepared  # late: few runs are of traces or bundles

    with signals.impatient():  # large images
        rerun = prepared(path, tuple(map(Path, images)), overrides, notice, _go_on, devices)
    return Given(rerun.plan, lock=rerun.lock, lenient=True, release=rerun.release)


def _go_on(size: int) -> None:
    """Some bytes of what the run needs were read. Raises KeyboardInterrupt if its end was requested."""
    if signals.asked():
        raise KeyboardInterrupt
