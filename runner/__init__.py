"""Running a spec on KVM. ``runner.run(spec)`` runs a machine and returns its :class:`Result`.

Names are imported at their first use, so device models and boot loaders work without KVM and the C extension.
docs/api.md describes the names that this package promises to keep.
"""

from typing import TYPE_CHECKING

from vmspec.host.exports import exports

if TYPE_CHECKING:
    from runner.control.client import AttachedConsole, Control, Ended, Status, connect, running
    from runner.control.errors import ControlError
    from runner.devices.device import DeviceError
    from runner.expect.cases import Case
    from runner.expect.unmet import Unmet
    from runner.kvm.errors import HostError, KvmError
    from runner.machine.result import Result
    from runner.session.beside import Run, start
    from runner.session.forking import fork
    from runner.session.session import run
    from runner.snapshot.errors import SnapshotError
else:  # unknown to type checkers, for which every name would be there
    __getattr__, __dir__ = exports(
        __name__,
        {
            "AttachedConsole": "runner.control.client",
            "Case": "runner.expect.cases",
            "Control": "runner.control.client",
            "ControlError": "runner.control.errors",
            "DeviceError": "runner.devices.device",
            "Ended": "runner.control.client",
            "HostError": "runner.kvm.errors",
            "KvmError": "runner.kvm.errors",
            "Result": "runner.machine.result",
            "Run": "runner.session.beside",
            "SnapshotError": "runner.snapshot.errors",
            "Status": "runner.control.client",
            "Unmet": "runner.expect.unmet",
            "connect": "runner.control.client",
            "fork": "runner.session.forking",
            "run": "runner.session.session",
            "running": "runner.control.client",
            "start": "runner.session.beside",
        },
    )

__all__ = [
    "AttachedConsole", "Case", "Control", "ControlError", "DeviceError", "Ended", "HostError", "KvmError", "Result",
    "Run", "SnapshotError", "Status", "Unmet", "connect", "fork", "run", "running", "start",
]  # fmt: skip
