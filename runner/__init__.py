"""Running a spec on KVM. ``runner.run(spec)`` runs a machine and returns its :class:`Result`.

Names are imported at their first use, so device models and boot loaders work without KVM and the C extension.
docs/api.md describes the names that this package promises to keep.
"""

from typing import TYPE_CHECKING

from vmspec.host.exports import exports

if TYPE_CHECKING:
    from runner.devices.device import DeviceError
    from runner.expect.cases import Case
    from runner.expect.unmet import Unmet
    from runner.kvm.errors import HostError, KvmError
    from runner.machine.result import Result
    from runner.session.beside import Run, start
    from runner.session.session import run
else:  # unknown to type checkers, for which every name would be there
    __getattr__, __dir__ = exports(
        __name__,
        {
            "Case": "runner.expect.cases",
            "DeviceError": "runner.devices.device",
            "HostError": "runner.kvm.errors",
            "KvmError": "runner.kvm.errors",
            "Result": "runner.machine.result",
            "Run": "runner.session.beside",
            "Unmet": "runner.expect.unmet",
            "run": "runner.session.session",
            "start": "runner.session.beside",
        },
    )

__all__ = ["Case", "DeviceError", "HostError", "KvmError", "Result", "Run", "Unmet", "run", "start"]
