"""Watches processes that use mutated files: tracebacks, time, memory, and the commands' statuses."""

import io
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from tracer.cli import main as vmtrace
from vmspec.cli import main as vmspec

CPU_MAX = 10.0  # seconds of one input


class HangError(BaseException):
    """An input takes too long; no handler of errors catches it."""


def statuses(program: str, arguments: list[str]) -> tuple[int, str, str]:
    """Exit status, output and messages of a command line, run here."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8", "surrogateescape"), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = {"vmtrace": vmtrace, "vmspec": vmspec}[program](arguments)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except HangError:
            raise
        except BaseException as error:
            error.add_note(f"{program} {' '.join(arguments)}")
            raise
    out.flush()
    said = err.getvalue()
    assert "Traceback" not in said, said
    return status, "", said


@contextmanager
def limited() -> Iterator[None]:
    """Raises HangError where the block takes more processor time than :data:`CPU_MAX`."""

    def late(*_: object) -> None:
        raise HangError(f"more than {CPU_MAX:.0f} s")

    signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, CPU_MAX)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def peak() -> int:
    """The most memory that this process has had, in bytes (VmHWM: that of this program, not of who started it)."""
    with open("/proc/self/status") as status:  # noqa: PTH123
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10
