"""Exit records as Arrow files: recording, recovering, reading, analysing. Needs no KVM.

Importing this package imports no pyarrow: the recorder does so in its own thread, the readers when they are called.
"""

from tracer.errors import TraceError
from tracer.reader import Trace, load
from tracer.recover import Recovered, recover

__all__ = ["Recovered", "Trace", "TraceError", "load", "recover"]
