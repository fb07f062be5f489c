"""The verdict in the lock of a spec."""

from collections.abc import Iterator

from attrs import evolve

from runner.verification.verdict import Verdict
from vmspec.lock.model import Verified
from vmspec.lock.text import LockText, write
from vmspec.plan.plan import Plan
from vmspec.schema.problems import Problem, SpecError
from vmspec.spec.fileuse import lock_path


class LockedVerdict:
    """The lock beside a plan's spec, and the verdict in it, if there is one."""

    def __init__(self, plan: Plan) -> None:
        """Raises SpecError if there is no lock, or it cannot be used."""
        if plan.path is None:
            raise SpecError((Problem("", "a plan without a spec file has no lock"),))
        self.path = lock_path(plan.path)
        self._name = plan.path.name
        self._lock = LockText.open(self.path).lock

    def changes(self, verdict: Verdict) -> Iterator[str]:
        """What differs between the lock's verdict and this one, in words. Registers and memory count if both are
        exact."""
        before, now = self._lock.verified, _of(verdict)
        if before is None or now is None:
            return
        names = ["end", "exits"]
        if before.level == now.level == "exact":
            names += ["registers_sha256", "memory_sha256"]
        for name in names:
            was, now_is = getattr(before, name), getattr(now, name)
            if was != now_is:
                yield f"{self.path}: verified.{name.replace('_', '-')}: was {was}, is {now_is}"

    def put(self, verdict: Verdict) -> bool:
        """Write the verdict into the lock; False: the runs differ, so that there is nothing to write. Raises
        OSError."""
        if (verified := _of(verdict)) is None:
            return False
        write(self.path, evolve(self._lock, verified=verified), self._name)
        return True


def _of(verdict: Verdict) -> Verified | None:
    if verdict.level not in ("exact", "repeatable"):
        return None
    hashes = verdict.registers_sha256, verdict.memory_sha256
    return Verified(verdict.level, verdict.runs, verdict.kind, verdict.exits, *hashes)
