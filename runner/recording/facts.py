"""The metadata of a trace: the host and the run. The recorder makes it from what the VMM sends of its run."""

import hashlib
import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from runner.x86.cpuid import CpuidEntry, for_vcpu
from vmspec.image.digest import digest
from vmspec.image.source import Version
from vmspec.plan.plan import Plan
from vmspec.plan.settings import PlannedCPU
from vmspec.show.dump import toml
from vmspec.trace import keys

MODULES = "/sys/module"  # the kernel's, a folder each


def metadata(about: dict[str, Any]) -> dict[str, str]:
    """The trace's schema metadata that follows from ``about``, the result of :func:`runner.session.facts.about`; see
    docs/trace-format.md."""
    restored = {} if about["restored"] is None else {keys.RESTORED: about["restored"]}
    return restored | {
        keys.SPEC: toml(about["plan"].spec),
        keys.HOST: json.dumps(host(about)),
        keys.REGIONS: json.dumps(regions(about["plan"])),
        keys.TIME: json.dumps(time(about["plan"])),
        keys.OVERRIDES: json.dumps(overrides(about["plan"])),
        keys.VERSION: about["version"],
    }


def started(seconds: float) -> str:
    """The time of day at time 0, given as seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def images(about: dict[str, Any], descriptors: Sequence[int]) -> dict[str, dict[str, str]]:
    """Path and SHA-256 of each file that the run read; ``descriptors`` are those of the files that are still to be
    hashed."""
    found = {name: {"path": path, "sha256": sha256} for name, (path, _, sha256) in about["modules"].items()}
    for (name, (path, version)), descriptor in zip(about["files"].items(), descriptors, strict=True):
        found[name] = {"path": path, "sha256": digest(descriptor, Version(*version))}
    if (code := about["plan"].code) is not None:
        found["code"] = {"path": "", "sha256": hashlib.sha256(code).hexdigest()}
    return found


def host(about: dict[str, Any]) -> dict[str, object]:
    """The host: kernel, processor, KVM's backend and capabilities, a hash of the CPUID that it can give."""
    return {
        "kernel": kernel(),
        "machine": platform.machine(),
        "processor": processor(),
        "kvm": backends(),
        "capabilities": about["capabilities"],
        "cpuid_sha256": cpuid_digest(tuple(about["cpuid"])),
    }


@lru_cache(1)  # the same for all runs of a process
def cpuid_digest(supported: tuple[tuple[int, ...], ...]) -> str:
    """The hash of the CPUID that KVM can give, as a single vCPU would get it. KVM's own answer contains the id of the
    processor that was asked."""
    entries = for_vcpu([CpuidEntry(*entry) for entry in supported], 0, 1, PlannedCPU(), tsc_deadline=True)
    text = ";".join(",".join(f"{value:x}" for value in entry) for entry in entries)
    return hashlib.sha256(text.encode()).hexdigest()


def regions(plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """The regions of each device."""
    return {device.name: [region._asdict() for region in device.regions] for device in plan.devices}


def time(plan: Plan) -> dict[str, object]:
    """What the guest's time follows. With virtual time, what vmrun promises, and the conditions that it does not
    check."""
    if plan.time.kind == "host":
        return {"kind": "host"}
    promise = {"promise": plan.time.promise, "not_enforced": [*plan.time.unenforced], "patches": len(plan.patches)}
    # A recording has all that reached the guest, so that it can be replayed: also what devices wrote to its memory.
    dma = plan.records_dma
    recording = dma or all(device.transport is None for device in plan.devices)
    return {"kind": plan.time.kind, "step_ns": plan.time.step, **promise, "recording": recording, "dma": dma}


def overrides(plan: Plan) -> list[str]:
    """The overrides of the run, but not where it was recorded."""
    return [text for text in plan.overrides if not text.startswith("trace.path=")]


def kernel() -> str:
    """The kernel's release."""
    return platform.release()


@cache
def processor() -> str:
    """The processor's model name."""
    try:
        with Path("/proc/cpuinfo").open() as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass  # a host without /proc: the trace has no processor
    return ""


def backends() -> list[str]:
    """The loaded KVM modules, such as kvm_amd; empty if KVM is built in."""
    try:
        with os.scandir(MODULES) as found:
            return sorted(module.name for module in found if module.name.startswith("kvm"))
    except OSError:
        return []  # a host without /sys
