"""What a run knows of its lock: the host's facts, and the files that were hashed. Plain tables: importing the models
would cost the recorder as much as all else that it imports but pyarrow."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from runner.recording.facts import backends, kernel, processor
from runner.x86.cpuid import CpuidEntry, for_vcpu
from runner.x86.cpumodel import leaves
from vmspec.host.pathtext import from_text
from vmspec.image.source import Version
from vmspec.lock import images
from vmspec.lock.table import Hashed, dumps, made
from vmspec.plan.plan import Plan
from vmspec.plan.settings import PlannedCPU
from vmspec.schema.cpuid_leaves import written

Facts = dict[str, Any]  # the table host of a lock


@lru_cache(1)  # the same for all runs of a process, if their specs have the same policy
def cpuid(cpu: PlannedCPU, supported: tuple[tuple[int, ...], ...], tsc_deadline: bool) -> dict[str, str]:
    """A guest's CPUID as a lock has it, for a policy and what KVM supports."""
    entries = for_vcpu([CpuidEntry(*entry) for entry in supported], 0, 1, cpu, tsc_deadline=tsc_deadline)
    return written(leaves(entries))


def host(cpu: PlannedCPU, supported: Iterable[Iterable[int]], capabilities: Mapping[str, int], tsc_khz: int) -> Facts:
    """The host's facts for a CPUID policy, from what KVM says: its CPUID, its capabilities, the rate of a guest's TSC.

    The CPUID is that of a machine with one vCPU and interrupt controllers, without the features that the spec removes:
    what else the spec makes of it follows from the spec, which the lock has.
    """
    deadline = capabilities["KVM_CAP_TSC_DEADLINE_TIMER"] != 0
    return {
        "must": {"cpuid": dict(cpuid(cpu, tuple(map(tuple, supported)), deadline))},
        "may": {"modules": backends(), "tsc_khz": tsc_khz, "capabilities": dict(capabilities)},
        "info": {"kernel": kernel(), "processor": processor()},
    }


def files(about: dict[str, Any], hashes: Mapping[str, Mapping[str, str]]) -> dict[str, Hashed]:
    """The files of a run's lock. ``about`` is the result of :func:`runner.session.facts.about`, ``hashes`` that of
    :func:`runner.recording.facts.images`. A large disk has no hash in it, unless the run was compared with its lock."""
    plan: Plan = about["plan"]
    known = {name: (path, Version(*version).size) for name, (path, version) in about["files"].items()}
    known |= {name: (path, size) for name, (path, size, _) in about["modules"].items()}
    found = {}
    read = {image.name for image in images.files(plan)} | about["modules"].keys()
    for image in images.files(plan):
        if image.name in known:
            continue
        if image.name in about["hashed"]:
            path, size, sha256 = about["hashed"][image.name]
        else:
            path, size, sha256 = images.shown(image.path, plan), images.size(image.path), ""
        found[image.name] = Hashed(path, size, sha256, image.written)
    for name, (path, size) in known.items():
        if name in read:
            found[name] = Hashed(images.shown(from_text(path), plan), size, hashes[name]["sha256"])
    return found


def text(about: dict[str, Any], found: Mapping[str, Hashed], tsc_khz: int) -> str:
    """The lock of a run with these files, as text."""
    plan: Plan = about["plan"]
    table = made(plan, found, host(plan.cpu, about["cpuid"], about["capabilities"], tsc_khz))
    return dumps(table, plan.vm.name if plan.path is None else plan.path.name)
