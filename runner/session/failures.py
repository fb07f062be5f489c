"""The errors that a run raises, each with vmrun's exit status."""

from runner.devices.device import DeviceError
from runner.kvm.errors import HostError, KvmError
from runner.machine.result import HOST, UNRECORDED, WRONG
from runner.snapshot.errors import SnapshotError
from tracer.format.errors import TraceError
from vmspec.image.source import ImageError
from vmspec.schema.problems import SpecError

STATUSES: dict[type[Exception], int] = {
    SpecError: WRONG,
    DeviceError: WRONG,
    ImageError: WRONG,
    SnapshotError: WRONG,
    HostError: HOST,
    KvmError: HOST,
    TraceError: UNRECORDED,
}
RAISED = tuple(STATUSES)


def exit_status(error: Exception) -> int:
    """The status for one of :data:`RAISED`."""
    return next(status for kind, status in STATUSES.items() if isinstance(error, kind))
