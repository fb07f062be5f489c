"""Exit records as Arrow files: recording, recovering, reading, analysing. Needs no KVM.

Importing this package imports no pyarrow: the recorder does so in its own thread, the readers when they are called.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracer.errors import TraceError
    from tracer.reader import Trace, load
    from tracer.recovery import Recovered, recover

__all__ = ["Recovered", "Trace", "TraceError", "load", "recover"]

_HOMES = {
    "Recovered": "tracer.recovery",
    "Trace": "tracer.reader",
    "TraceError": "tracer.errors",
    "load": "tracer.reader",
    "recover": "tracer.recovery",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when they are asked for: vmrun needs only the recorder."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # `recover` is the function, though a module has the same name
    return value
