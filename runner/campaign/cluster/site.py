"""A Dask cluster as the place of a campaign's runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from runner.campaign.cluster import remote
from runner.campaign.cluster.connection import Connection, Needed, connected
from runner.campaign.cluster.errors import ClusterError
from runner.campaign.cluster.executor import Cluster
from runner.campaign.cluster.parcel import parcel
from runner.campaign.runs import Digests, Machine, cpuid_of
from runner.campaign.site import Site
from vmspec.plan.settings import PlannedCPU

AHEAD = 2  # runs that are submitted for each that a worker can make, so that none waits for the next


@contextmanager
def cluster(address: str, jobs: int | None) -> Iterator[Site]:
    """The cluster of the scheduler at an address. Raises ClusterError."""
    with connected(address) as connection:
        if (missing := connection.missing([Needed(1)])) is not None:
            raise ClusterError(missing)
        connection.check()
        offers = connection.workers().values()
        most = int(sum(AHEAD * offer.get("kvm", 0) for offer in offers))
        room = int(sum(AHEAD * offer.get("vcpus", 0) for offer in offers))

        def facts(cpu: PlannedCPU) -> Any:
            return _facts(connection, cpu)

        def executor(machines: Sequence[Machine], digests: Digests) -> Cluster:
            return Cluster(connection, _parcels(connection, machines, digests))

        yield Site(facts, executor, jobs or most, room)


def _facts(connection: Connection, cpu: PlannedCPU) -> Any:
    """The facts of a host of the cluster; guests see the same CPUID on all of them. Raises ClusterError."""
    found = connection.everywhere(remote.facts, cpu)
    for worker, facts in found.items():
        if isinstance(facts, Exception):
            raise ClusterError(f"the worker {worker} cannot run machines: {facts}")
    (first, facts), *others = found.items()
    for worker, other in others:
        if cpuid_of(other) != cpuid_of(facts):
            where = f"on {first} and another on {worker}"
            raise ClusterError(f"guests would see one CPUID {where}: give the spec a cpu.model")
    return facts


def _parcels(connection: Connection, machines: Sequence[Machine], digests: Digests) -> Any:
    """What travels, and what it needs, for each machine. Raises SpecError, ClusterError."""
    made = {}
    for machine in machines:
        needed = Needed(machine.demand.vcpus)
        made[machine.spec, machine.overrides] = parcel(machine.spec, machine.overrides, machine.cpuid, digests), needed
    if (missing := connection.missing({needed for _, needed in made.values()})) is not None:
        raise ClusterError(missing)
    return made
