"""Entry point of the ``vmspec`` command. Ctrl-C while it loads ends it without Python's traceback."""

import signal

EARLY = signal.getsignal(signal.SIGINT)
if EARLY is not signal.SIG_IGN:  # keep SIGINT ignored, as nohup sets it
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from vmspec import cli  # noqa: E402 - imported late, to profit from the above


def main() -> int:
    """Run the command; return its exit status."""
    signal.signal(signal.SIGINT, EARLY)
    return cli.main()
