"""The VMM's facts of a run for its trace; :mod:`runner.recording.facts` turns them into metadata, in the recorder.

The guest runs already, and a vCPU that needs Python waits for what is done here.
"""

import time
from functools import cache
from typing import Any

from runner.kvm.system import System
from runner.machine.machine import Machine
from runner.native import _native
from runner.recording.rings import Rings
from vmspec import __version__
from vmspec.host.pathtext import to_text


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
        "cpuid": [tuple(entry) for entry in machine.cpuid],
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


def capabilities(system: System) -> dict[str, int]:
    """Every capability that vmrun knows, with the host's answer."""
    return {name: system.check_extension(name) for name in known_capabilities()}


@cache
def known_capabilities() -> list[str]:
    """Names of the capabilities that vmrun knows."""
    return sorted(name for name in dir(_native.lib) if name.startswith("KVM_CAP_"))
