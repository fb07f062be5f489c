"""The runs of a campaign: specs by axes by repetitions, each with a name that stays the same."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from runner.campaign.models import Campaign
from runner.workers.schedule import Demand, demand
from vmspec.document import Document
from vmspec.image.source import Version
from vmspec.lock import taking
from vmspec.plan.plan import Plan
from vmspec.plan.settings import PlannedCPU
from vmspec.schema.overrides import parse
from vmspec.spec.matrix import combinations

FactsOf = Callable[[PlannedCPU], Mapping[str, Any]]  # the facts of a host, as of a lock, by the CPU's policy
Digests = dict[Version, str]  # hashes of files

DIGITS = 16  # of the hash that names a run


class Machine(NamedTuple):
    """One combination of a spec. ``values`` are its overrides by key, ``lock`` is the hash of what must be the same,
    ``cpuid`` that of the CPUID that its guests see."""

    spec: Path
    overrides: tuple[str, ...]
    values: dict[str, Any]
    demand: Demand
    lock: str
    cpuid: str = ""


class Run(NamedTuple):
    """One run of a machine; ``name`` is a hash of the machine's lock, its overrides and the repetition."""

    machine: Machine
    repetition: int
    name: str


def machines(campaign: Campaign, facts: FactsOf, digests: Digests) -> Iterator[Machine]:
    """The machines, on hosts with these facts. Hashes each of their images once, into ``digests``. Raises SpecError for
    a spec that is wrong, and what ``facts`` raises."""
    facts = cache(facts)
    for spec in campaign.campaign.specs:
        for axes in combinations(campaign.axes):
            for document in Document.open(spec, axes).combinations().values():
                plan = document.plan()
                values = dict(map(_pair, document.overrides))
                lock, cpuid = _lock(plan, facts(plan.cpu), digests), cpuid_of(facts(plan.cpu))
                yield Machine(spec, document.overrides, values, demand(plan), lock, cpuid)


def runs(machine: Machine, repeat: int) -> Iterator[Run]:
    """The runs of a machine."""
    for repetition in range(repeat):
        text = json.dumps([machine.lock, machine.overrides, repetition])
        yield Run(machine, repetition, hashlib.sha256(text.encode()).hexdigest()[:DIGITS])


def _pair(expression: str) -> tuple[str, Any]:
    return expression.partition("=")[0], parse(expression)[1]


def cpuid_of(facts: Mapping[str, Any]) -> str:
    """A hash of the CPUID that a guest sees on a host with these facts."""
    answers = sorted((str(leaf), str(answer)) for leaf, answer in facts["must"]["cpuid"].items())
    return hashlib.sha256(json.dumps(answers).encode()).hexdigest()


def _lock(plan: Plan, facts: Mapping[str, Any], digests: Digests) -> str:
    """The hash of a plan's lock: of vmrun's version, the resolved spec, the images and CPUID. What may change a boot is
    not in it, so that a new kernel of the host does not make all runs new."""
    lock = taking.take(plan, facts, digests=digests).lock
    images = sorted((name, image.sha256) for name, image in lock.images.items())
    cpuid = sorted((str(leaf), str(answer)) for leaf, answer in lock.host.must.cpuid.items())
    return hashlib.sha256(json.dumps([lock.vmrun, lock.spec_sha256, images, cpuid]).encode()).hexdigest()
