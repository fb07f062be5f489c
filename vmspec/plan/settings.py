"""The settings of a spec's tables for the runner. Each has those fields of its model that a run needs, with the same
names and defaults; the planner copies them."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple


class PlannedVM(NamedTuple):
    """The machine as a whole; ``timeout`` is ns."""

    name: str
    memory: int
    vcpus: int
    timeout: int | None = None


class PlannedTime(NamedTuple):
    """What the guest's time follows: "host", or "virtual" with so many ns for each exit. ``promise`` is "repeatable"
    (all runs have the same exits) or "exact" (the same registers and memory too); ``unenforced`` are its conditions
    that vmrun does not check, in sentences. ``seed`` is that of Linux's random numbers, and of the times that reads of
    the TSC take, which are ``tsc_step`` ns on average. The run of a guest that makes no exit for ``spin`` ns of the
    host's time ends.
    """

    kind: str = "host"
    step: int = 0
    unenforced: tuple[str, ...] = ()
    seed: int = 0
    promise: str = "repeatable"
    tsc_step: int = 0
    spin: int = 0


class PlannedMemory(NamedTuple):
    """The host memory behind guest RAM."""

    backing: str = "anonymous"
    pages: str = "transparent"
    locked: bool = False
    prefault: bool = False


class PlannedLeaf(NamedTuple):
    """A leaf of CPUID, and what it answers; ``subleaf`` is None if it has none."""

    function: int
    subleaf: int | None
    eax: int
    ebx: int
    ecx: int
    edx: int


class PlannedCPU(NamedTuple):
    """The CPUID policy. ``leaves`` are those of a model; none: what the host supports. ``own``: they are vmrun's own
    table for virtual time, whose vendor need not be the host's. ``vendor`` takes the place of the one in the leaves."""

    disable: tuple[str, ...] = ()
    leaves: tuple[PlannedLeaf, ...] = ()
    own: bool = False
    vendor: str | None = None


class PlannedTrace(NamedTuple):
    """Where and how exits are recorded; ``path`` None: not at all."""

    path: Path | None = None
    rip: bool = True
    full: str = "wait"
    tracepoints: bool | str = False
    events: tuple[str, ...] = ()
    inputs: bool = False
    requests: bool = True
    outputs: bool = True
    ring: int = 65536


class PlannedLock(NamedTuple):
    """Whether a run must be the one that was locked."""

    require: bool = False


class PlannedLimit(NamedTuple):
    """A number that a run may reach: ``most`` exits or ns. ``what`` is exits, reason, device, guest, handling or line;
    ``name`` that of the reason or the device, or the line's text."""

    key: str
    what: str
    most: int
    name: str = ""


class PlannedVerdict(NamedTuple):
    """The last line that the guest must write to a port: ``text``, or a JSON object that has ``members``. ``console``
    is the port's name in a trace."""

    key: str
    port: str
    console: str
    text: str | None = None
    members: Mapping[str, Any] = MappingProxyType({})


class PlannedPlace(NamedTuple):
    """A range of ports or addresses."""

    start: int
    size: int


class PlannedExpect(NamedTuple):
    """The conditions for a successful run."""

    console: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    exit: tuple[str, ...] = ()
    status: int | None = None
    ktap: bool = False
    tap: bool = False
    ports: tuple[PlannedVerdict, ...] = ()
    unclaimed: str = "any"
    allow: tuple[PlannedPlace, ...] = ()
    errors: str = "any"
    reference: Path | None = None
    differ: tuple[str, ...] = ()
    limits: tuple[PlannedLimit, ...] = ()

    def of_trace(self) -> tuple[str, ...]:
        """The keys of those that are checked in the finished trace."""
        keys = [f"expect.{name}" for name in ("unclaimed", "errors") if getattr(self, name) == "none"]
        if self.reference is not None:
            keys.append("expect.reference")
        return (*keys, *(limit.key for limit in self.limits if limit.what not in ("exits", "reason")))
