"""Exit records as Arrow files: recording, recovering, reading, analysing. Needs no KVM.

Importing this package imports no pyarrow: the recorder does so in its own thread, the readers when they are called.
"""

from typing import TYPE_CHECKING

from vmspec.host.exports import exports

if TYPE_CHECKING:
    from tracer.format.errors import TraceError
    from tracer.read.reader import Trace, load
    from tracer.read.recovery import Recovered, recover

__all__ = ["Recovered", "Trace", "TraceError", "load", "recover"]

__getattr__, __dir__ = exports(
    __name__,
    {
        "Recovered": "tracer.read.recovery",
        "Trace": "tracer.read.reader",
        "TraceError": "tracer.format.errors",
        "load": "tracer.read.reader",
        "recover": "tracer.read.recovery",
    },
)
