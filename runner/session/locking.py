"""Comparing a run with its spec's lock, before the guest runs."""

from collections.abc import Callable, Mapping

from runner.machine.machine import Machine
from runner.session import facts, hostfacts
from vmspec.lock import images, taking
from vmspec.lock.drift import compare
from vmspec.lock.text import LockText
from vmspec.plan.plan import Plan
from vmspec.schema.keypath import join
from vmspec.schema.problems import Problem, SpecError
from vmspec.spec.fileuse import lock_path

LONG = 1 << 30  # bytes of images that take a second or so to hash


class Locked:
    """The lock of a plan's spec, which the run agrees with."""

    def __init__(self, plan: Plan, lock: LockText | None, unlocked: bool, notice: Callable[[str], None]) -> None:
        """Hash the plan's files and compare all with the lock, which is that beside the spec's file if none is given.
        ``notice`` is told what may change the boot, and with ``unlocked`` all differences. Raises SpecError if
        something differs that must be the same, HostError or KvmError."""
        self._unlocked, self._notice = unlocked, notice
        if lock is None:
            if plan.path is None:
                raise SpecError((Problem("", "a plan without a spec file has no lock"),))
            lock = LockText.open(lock_path(plan.path))
            self._hint = "vmspec lock --diff shows all differences, --update replaces the lock"
        else:
            self._hint = "--unlocked runs it all the same"
        self._text = lock
        size = sum(images.size(path) for path in {image.path for image in taking.of(plan)})
        if size >= LONG:
            notice(f"hashing {size / (1 << 30):.1f} GiB of images for the lock, before the guest runs")
        self._taken = taking.take(plan, hostfacts.facts(plan.cpu))
        changes = compare(self._text.lock, self._taken.lock)
        self._refuse([self._text.changed(change) for change in changes if change.weight == "must"])
        for change in changes:
            if change.weight == "may":
                notice(f"may change the boot: {self._text.changed(change)}")

    def confirm(self, machine: Machine) -> None:
        """Check that the devices were made from what was hashed. Raises SpecError."""
        problems = []
        images = self._taken.lock.images
        for name, (path, _, sha256) in facts.modules(machine).items():
            if name not in images:
                message = f"{path} was loaded, but no import statement names it, so no lock has it"
                problems.append(Problem(join(("images", name)), message))
            elif images[name].sha256 != sha256:
                problems.append(Problem(join(("images", name)), f"{path} has changed since it was compared"))
        problems += [Problem("images", f"{path} has changed since it was compared") for path in self._taken.changed()]
        self._refuse([self._text.locate(problem) for problem in problems])

    @property
    def hashed(self) -> Mapping[str, facts.Hashed]:
        """What was hashed, by name."""
        images = self._taken.lock.images
        return {name: (image.path, image.size, image.sha256) for name, image in images.items()}

    def _refuse(self, problems: list[Problem]) -> None:
        if self._unlocked:
            for problem in problems:
                self._notice(f"differs from the lock: {problem}")
        elif problems:
            file = self._text.file
            hint = f"the run differs from its lock; {self._hint}"
            raise SpecError((*problems, Problem("", hint, file=file)))
