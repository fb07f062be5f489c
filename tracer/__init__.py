"""Traces as Arrow files: recording, recovering, reading, analysing. Needs no KVM.

Importing this package does not import pyarrow: readers do when they are called. docs/api.md describes the names that
this package promises to keep.
"""

from typing import TYPE_CHECKING

from vmspec.host.exports import exports

if TYPE_CHECKING:
    from tracer.format.errors import TraceError, TraceWarning
    from tracer.read.reader import Trace, load
    from tracer.read.recovery import Recovered, recover
    from tracer.read.tablefile import TableFile
else:  # unknown to type checkers, for which every name would be there
    __getattr__, __dir__ = exports(
        __name__,
        {
            "Recovered": "tracer.read.recovery",
            "TableFile": "tracer.read.tablefile",
            "Trace": "tracer.read.reader",
            "TraceError": "tracer.format.errors",
            "TraceWarning": "tracer.format.errors",
            "load": "tracer.read.reader",
            "recover": "tracer.read.recovery",
        },
    )

__all__ = ["Recovered", "TableFile", "Trace", "TraceError", "TraceWarning", "load", "recover"]
