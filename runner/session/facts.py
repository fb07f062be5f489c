"""The VMM's facts of a run for its trace; :mod:`runner.recording.facts` turns them into metadata."""

import time
from functools import lru_cache
from typing import Any

from runner.kvm.system import System
from runner.machine.machine import Machine
from runner.native import _native
from runner.recording.rings import Rings
from runner.x86.cpuid import CpuidEntry, for_vcpu
from vmspec import __version__
from vmspec.host.pathtext import to_text
from vmspec.plan.settings import PlannedCPU

CPUID_FIELDS = ("function", "subleaf", "flags", "eax", "ebx", "ecx", "edx")


def about(machine: Machine, rings: Rings) -> tuple[dict[str, Any], list[int]]:
    """The facts as plain values, and the descriptors of ``files``, in order: the files that are still to be hashed."""
    plan = machine.plan.unrecorded()  # a run of the recorded spec must not overwrite this trace
    files = dict(machine.loader.images.hashed())
    values = {
        "spec": plan.spec,
        "overrides": [text for text in plan.overrides if not text.startswith("trace.path=")],
        "started": time.time() - rings.elapsed() / 1e9,
        "version": __version__,
        "files": {name: (to_text(image.path), tuple(image.version)) for name, image in files.items()},
        "modules": modules(machine),
        "code": plan.code,
        "regions": {device.name: [region._asdict() for region in device.regions] for device in plan.devices},
        "capabilities": capabilities(machine.system),
        "cpuid": cpuid(machine),
    }
    return values, [image.descriptor for image in files.values()]


def modules(machine: Machine) -> dict[str, tuple[str, str]]:
    """Path and SHA-256 of the modules that devices were made from, as loaded."""
    plan, found = machine.plan, {}
    for planned, device in zip(plan.devices, machine.buses.devices, strict=True):
        for path, sha256 in device.made_from.items():
            within = plan.path is not None and path.is_relative_to(plan.directory)
            name = path.relative_to(plan.directory) if within else path.name
            found[f"{planned.name}/{name}"] = to_text(path), sha256
    return found


def cpuid(machine: Machine) -> str:
    """The CPUID that KVM can give, as a single vCPU would get it. KVM's own answer contains the id of the processor
    that was asked."""
    return _as_text(tuple(machine.cpuid))


@lru_cache(maxsize=1)  # a host's stays the same
def _as_text(supported: tuple[CpuidEntry, ...]) -> str:
    entries = for_vcpu(list(supported), 0, 1, PlannedCPU(), tsc_deadline=True)
    return ";".join(",".join(f"{getattr(entry, name):x}" for name in CPUID_FIELDS) for entry in entries)


def capabilities(system: System) -> dict[str, int]:
    """Every capability that vmrun knows, with the host's answer."""
    names = sorted(name for name in dir(_native.lib) if name.startswith("KVM_CAP_"))
    return {name: system.check_extension(name) for name in names}
