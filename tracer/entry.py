"""Entry point of the ``vmtrace`` command. Ctrl-C while it loads ends it without Python's traceback."""

import signal

if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # keep SIGINT ignored, as nohup sets it
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from tracer import cli
from vmspec.host.signals import unwinding


def main() -> int:
    """Run the command; return its exit status."""
    with unwinding():
        return cli.main()
