"""The runs of a campaign: specs by axes by repetitions, each with a name that stays the same."""

import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from runner.campaign.models import Campaign
from runner.session import hostfacts
from runner.workers.schedule import Demand, demand
from vmspec.document import Document
from vmspec.image.source import Version
from vmspec.lock import taking
from vmspec.plan.plan import Plan
from vmspec.plan.settings import PlannedCPU
from vmspec.schema.overrides import parse
from vmspec.spec.matrix import combinations

DIGITS = 16  # of the hash that names a run


class Machine(NamedTuple):
    """One combination of a spec. ``values`` are its overrides by key, ``lock`` is the hash of what must be the same."""

    spec: Path
    overrides: tuple[str, ...]
    values: dict[str, Any]
    demand: Demand
    lock: str


class Run(NamedTuple):
    """One run of a machine; ``name`` is a hash of the machine's lock, its overrides and the repetition."""

    machine: Machine
    repetition: int
    name: str


def machines(campaign: Campaign) -> Iterator[Machine]:
    """The machines. Hashes each of their images once. Raises SpecError for a spec that is wrong, HostError or
    KvmError."""
    digests: dict[Version, str] = {}
    for spec in campaign.campaign.specs:
        for axes in combinations(campaign.axes):
            for document in Document.open(spec, axes).combinations().values():
                plan = document.plan()
                values = dict(map(_pair, document.overrides))
                yield Machine(spec, document.overrides, values, demand(plan), _lock(plan, digests))


def runs(machine: Machine, repeat: int) -> Iterator[Run]:
    """The runs of a machine."""
    for repetition in range(repeat):
        text = json.dumps([machine.lock, machine.overrides, repetition])
        yield Run(machine, repetition, hashlib.sha256(text.encode()).hexdigest()[:DIGITS])


def _pair(expression: str) -> tuple[str, Any]:
    return expression.partition("=")[0], parse(expression)[1]


def _lock(plan: Plan, digests: dict[Version, str]) -> str:
    """The hash of a plan's lock: of vmrun's version, the resolved spec, the images and CPUID. What may change a boot is
    not in it, so that a new kernel of the host does not make all runs new."""
    lock = taking.take(plan, _host(plan.cpu), digests=digests).lock
    images = sorted((name, image.sha256) for name, image in lock.images.items())
    cpuid = sorted((str(leaf), str(answer)) for leaf, answer in lock.host.must.cpuid.items())
    return hashlib.sha256(json.dumps([lock.vmrun, lock.spec_sha256, images, cpuid]).encode()).hexdigest()


@lru_cache
def _host(cpu: PlannedCPU) -> Any:
    return hostfacts.facts(cpu)
