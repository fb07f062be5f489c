"""What a run knows of its lock: the host's facts, and the files that were hashed."""

from collections.abc import Iterable, Mapping
from typing import Any

from runner.recording.facts import backends, kernel, processor
from runner.x86.cpuid import CpuidEntry, for_vcpu
from runner.x86.cpumodel import leaves
from vmspec.host.pathtext import from_text
from vmspec.image.source import Version
from vmspec.lock import images, taking
from vmspec.lock.model import Host, Info, Lock, LockedImage, May, Must
from vmspec.plan.plan import Plan
from vmspec.plan.settings import PlannedCPU


def host(cpu: PlannedCPU, supported: Iterable[Iterable[int]], capabilities: Mapping[str, int], tsc_khz: int) -> Host:
    """The host's facts for a CPUID policy, from what KVM says: its CPUID, its capabilities, the rate of a guest's TSC.

    The CPUID is that of a machine with one vCPU and interrupt controllers, without the features that the spec removes:
    what else the spec makes of it follows from the spec, which the lock has.
    """
    deadline = capabilities["KVM_CAP_TSC_DEADLINE_TIMER"] != 0
    entries = for_vcpu([CpuidEntry(*entry) for entry in supported], 0, 1, cpu, tsc_deadline=deadline)
    return Host(
        must=Must(leaves(entries)),
        may=May(tuple(backends()), tsc_khz, dict(capabilities)),
        info=Info(kernel(), processor()),
    )


def lock(about: dict[str, Any], hashes: Mapping[str, Mapping[str, str]], tsc_khz: int) -> Lock:
    """The lock of a run. ``about`` is the result of :func:`runner.session.facts.about`, ``hashes`` that of
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
            path, size, sha256 = images.shown(image.path, plan), taking.size(image.path), ""
        found[image.name] = LockedImage(path, size, sha256, image.written)
    for name, (path, size) in known.items():
        if name in read:
            found[name] = LockedImage(images.shown(from_text(path), plan), size, hashes[name]["sha256"])
    return taking.made(plan, found, host(plan.cpu, about["cpuid"], about["capabilities"], tsc_khz))
