"""The settings of a spec's tables for the runner. Each has those fields of its model that a run needs, with the same
names and defaults; the planner copies them."""

from pathlib import Path
from typing import NamedTuple


class PlannedVM(NamedTuple):
    """The machine as a whole; ``timeout`` is ns."""

    name: str
    memory: int
    vcpus: int
    timeout: int | None = None


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
    """The CPUID policy. ``leaves`` are those of a model; none: what the host supports."""

    disable: tuple[str, ...] = ()
    leaves: tuple[PlannedLeaf, ...] = ()


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
