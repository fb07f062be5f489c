"""What a trace says of where it was recorded and on what: host facts and the images' hashes."""

import hashlib
import json
import platform
from datetime import datetime
from pathlib import Path

from runner.kvm.system import System
from runner.machine.machine import Machine
from runner.native import _native
from runner.x86.cpuid import for_vcpu
from vmspec import __version__
from vmspec.host.pathtext import to_text
from vmspec.plan.settings import PlannedCPU

CPUID_FIELDS = ("function", "subleaf", "flags", "eax", "ebx", "ecx", "edx")


def images(machine: Machine) -> dict[str, dict[str, str]]:
    """Path and sha256 of each file that the run read: what the guest is made from, its devices' modules and files."""
    files = machine.loader.hashes()
    plan = machine.plan
    for planned, device in zip(plan.devices, machine.buses.devices, strict=True):
        for path, digest in device.made_from.items():
            within = plan.path is not None and path.is_relative_to(plan.directory)
            name = path.relative_to(plan.directory) if within else path.name
            files[f"{planned.name}/{name}"] = path, digest
    found = {name: {"path": to_text(path), "sha256": digest} for name, (path, digest) in files.items()}
    if (code := plan.code) is not None:
        found["code"] = {"path": "", "sha256": hashlib.sha256(code).hexdigest()}
    return found


def host(machine: Machine) -> dict[str, object]:
    """The host: kernel, processor, KVM's backend and capabilities, a hash of the CPUID it can give."""
    # As one vCPU alone would get it: what KVM says itself has the id of the processor that it was asked on.
    entries = for_vcpu(machine.cpuid, 0, 1, PlannedCPU(), tsc_deadline=True)
    cpuid = ";".join(",".join(f"{getattr(entry, name):x}" for name in CPUID_FIELDS) for entry in entries)
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processor": processor(),
        "kvm": backends(),
        "capabilities": capabilities(machine.system),
        "cpuid_sha256": hashlib.sha256(cpuid.encode()).hexdigest(),
    }


def processor() -> str:
    """The processor's own name."""
    try:
        with Path("/proc/cpuinfo").open() as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass  # a host without /proc: the trace says nothing of its processor
    return ""


def backends() -> list[str]:
    """The loaded KVM modules, such as kvm_amd; a KVM that is built in names none."""
    return sorted(path.name for path in Path("/sys/module").glob("kvm*"))


def capabilities(system: System) -> dict[str, int]:
    """Every capability that vmrun knows, as the host answers for it."""
    names = sorted(name for name in dir(_native.lib) if name.startswith("KVM_CAP_"))
    return {name: system.check_extension(name) for name in names}


def metadata(machine: Machine, clock: dict[str, int], started: datetime) -> dict[str, str]:
    """The trace's schema metadata; see docs/trace-format.md. ``started`` is when time 0 was."""
    from vmspec.show.dump import toml

    plan = machine.plan.unrecorded()  # as it may be run again: not into the trace that it is taken from
    return {
        "vmrun.spec": toml(plan.spec),
        "vmrun.images": json.dumps(images(machine)),
        "vmrun.host": json.dumps(host(machine)),
        "vmrun.clock": json.dumps(clock),
        "vmrun.overrides": json.dumps([text for text in plan.overrides if not text.startswith("trace.path=")]),
        "vmrun.started": started.isoformat(timespec="milliseconds"),
        "vmrun.version": __version__,
    }
