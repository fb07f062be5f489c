"""The host's facts of a lock. They need KVM, so another package gives them, by an entry point of the group
``vmspec.host``: a function from the CPUID policy of a plan to a :class:`vmspec.lock.model.Host`."""

from importlib.metadata import entry_points

from vmspec.host.printable import PrintableError
from vmspec.lock.model import Host
from vmspec.plan.settings import PlannedCPU

GROUP = "vmspec.host"


class HostUnknownError(PrintableError):
    """Nothing here can tell the host's facts; the message says what is missing."""


def facts(cpu: PlannedCPU) -> Host:
    """The facts of this host that a run with this CPUID policy depends on. Raises HostUnknownError."""
    points = entry_points(group=GROUP)
    if not points:
        raise HostUnknownError(
            f"a lock has the CPUID and KVM of this host, and no installed package tells them (entry points {GROUP}): "
            "install vmrun, whose package runner does"
        )
    point = next(iter(points))
    try:
        found = point.load()(cpu)
    except Exception as error:  # of another package, whatever it is: not built, no KVM, no permission
        raise HostUnknownError(f"a lock has the CPUID and KVM of this host: {error}") from error
    if not isinstance(found, Host):
        raise HostUnknownError(f"{point.value} ({GROUP}) tells nothing that a lock has")
    return found
