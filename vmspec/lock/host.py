"""The host's facts of a lock. They need KVM, so another package provides them by an entry point of the group
``vmspec.host``: a function from the CPUID policy of a plan to the table ``host`` of a lock."""

from importlib.metadata import entry_points
from pathlib import Path

from vmspec.host.printable import PrintableError
from vmspec.lock.model import Host
from vmspec.plan.settings import PlannedCPU
from vmspec.schema.tables import Table
from vmspec.schema.value import Here

GROUP = "vmspec.host"


class HostUnknownError(PrintableError):
    """Nothing here can tell the host's facts; the message says what is missing."""


def facts(cpu: PlannedCPU) -> Host:
    """The facts of this host that a run with this CPUID policy depends on. Raises HostUnknownError."""
    points = entry_points(group=GROUP)
    if not points:
        raise HostUnknownError(
            f"a lock needs this host's CPUID and KVM, and no installed package reports them (entry points {GROUP}): "
            "install vmrun, whose package runner does"
        )
    point = next(iter(points))
    try:
        found = point.load()(cpu)
    except Exception as error:  # of another package, whatever it is: not built, no KVM, no permission
        raise HostUnknownError(f"a lock needs this host's CPUID and KVM: {error}") from error
    here = Here(Path())
    host = Table(Host).read(found, here)
    if here.problems:
        raise HostUnknownError(f"{point.value} ({GROUP}) returned what no lock has: {here.problems[0]}")
    assert isinstance(host, Host)
    return host
