"""Where the ``vmrun`` command begins: the time from exec to the first KVM_RUN is a figure of the product."""

import gc
import signal

# Imports make classes and code, no garbage; looking for some takes a tenth of the start. runner.cli turns it on again.
gc.disable()
# Nothing is open yet that an interrupt would have to close in order: it ends the process, without Python's traceback.
if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # nohup means it
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from runner.cli import main  # noqa: E402 - after what it is to profit from

__all__ = ["main"]
