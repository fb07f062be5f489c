"""Entry point of the ``vmrun`` command. Startup time, from exec to the first KVM_RUN, is a feature."""

import gc
import signal

# Imports make classes and code, no garbage. Collection would take a tenth of the start. runner.cli turns it on again.
gc.disable()
# Nothing is open yet that must be closed in order: Ctrl-C ends the process without Python's traceback.
if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # keep SIGINT ignored, as nohup sets it
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from runner.cli import main  # noqa: E402 - imported late, to profit from the above

__all__ = ["main"]
