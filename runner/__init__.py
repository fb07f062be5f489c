"""Realising a spec on KVM. ``runner.run(spec)`` runs a machine and returns its :class:`Result`.

Names are imported when they are first used: device models and boot loaders work where KVM, or the C extension, is not.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.devices.device import DeviceError
    from runner.kvm.errors import HostError, KvmError
    from runner.result import Result
    from runner.session import run

__all__ = ["DeviceError", "HostError", "KvmError", "Result", "run"]

_PLACES = {
    "DeviceError": "runner.devices.device",
    "HostError": "runner.kvm.errors",
    "KvmError": "runner.kvm.errors",
    "Result": "runner.result",
    "run": "runner.session",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value
