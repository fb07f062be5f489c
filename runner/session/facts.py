"""The VMM's facts of a run for its trace; :mod:`runner.recording.facts` turns them into metadata, in the recorder.

The guest runs already, and a vCPU that needs Python waits for what is done here.
"""

import time
from collections.abc import Mapping
from functools import cache
from typing import Any

from runner.kvm.system import System
from runner.machine.machine import Machine
from runner.native import _native
from runner.recording.rings import Rings
from vmspec import __version__
from vmspec.devices import own
from vmspec.host.pathtext import to_text

Hashed = tuple[str, int, str]  # of a file: its path, its size in bytes, its SHA-256


def about(machine: Machine, hashed: Mapping[str, Hashed]) -> tuple[dict[str, Any], list[int]]:
    """The facts as plain values, and the descriptors of ``files``, in order: the files that are still to be hashed.
    ``hashed`` are those that were hashed before the run."""
    files = dict(machine.loader.images.hashed())
    values = {
        # A run of the recorded spec must not overwrite this trace. The rest of the plan follows from the spec.
        "plan": machine.plan.unrecorded()._replace(calls=(), placements=(), areas=(), e820=()),
        "version": __version__,
        "restored": None if machine.restored is None else to_text(machine.restored),
        "files": {name: (to_text(image.path), tuple(image.version)) for name, image in files.items()},
        "modules": modules(machine),
        "hashed": dict(hashed),
        "capabilities": capabilities(machine.system),
        "cpuid": [tuple(entry) for entry in machine.cpuid],
    }
    return values, [image.descriptor for image in files.values()]


def started(rings: Rings) -> float:
    """The time of day at time 0, in seconds since the epoch."""
    return time.time() - rings.elapsed() / 1e9


def modules(machine: Machine) -> dict[str, Hashed]:
    """The modules that devices were made from, as loaded. One that has gone since has the size 0."""
    plan, found = machine.plan, {}
    for planned, device in zip(plan.devices, machine.buses.devices, strict=True):
        for path, sha256 in device.made_from.items():
            try:
                size = path.stat().st_size
            except OSError:
                size = 0
            found[own.source(planned.name, path, plan.classes)] = to_text(path), size, sha256
    return found


def capabilities(system: System) -> dict[str, int]:
    """Every capability that vmrun knows, with the host's answer."""
    return {name: system.check_extension(name) for name in known_capabilities()}


@cache
def known_capabilities() -> list[str]:
    """Names of the capabilities that vmrun knows."""
    return sorted(name for name in dir(_native.lib) if name.startswith("KVM_CAP_"))
