"""Where the ``vmspec`` command begins: an interrupt while it is loaded ends it without Python's traceback."""

import signal

EARLY = signal.getsignal(signal.SIGINT)
if EARLY is not signal.SIG_IGN:  # nohup means it
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from vmspec import cli  # noqa: E402 - after what it is to profit from


def main() -> int:
    """Run the command; returns its exit status."""
    signal.signal(signal.SIGINT, EARLY)
    return cli.main()
