"""A machine that a test talks to."""

import codecs
import errno
import os
import re
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from runner.machine.result import Result
from runner.session.beside import Run, start
from vmspec.host.printable import printable
from vmspec.host.threads import Worker

if TYPE_CHECKING:
    from tracer import Trace

READ = 1 << 16
SHOWN = 5  # lines at the end of the console that a message has
PATIENCE = 30.0  # seconds


class NotPrintedError(AssertionError):
    """A text did not come on the console; the message has what came."""


class Guest:
    """A running machine, made by :meth:`Machines.start`. ``run`` is its :class:`runner.Run`, to pause it and the
    like."""

    def __init__(self, spec: Path, overrides: Sequence[str], *, record: bool, locked: bool) -> None:
        self._text = ""
        self._at = 0  # where the next text is looked for
        self._changed = threading.Condition()
        self._over = False  # the console has ended
        self._sending = threading.Lock()
        theirs, self._input = os.pipe2(os.O_CLOEXEC)
        console, output = os.pipe2(os.O_CLOEXEC)
        self._reader = Worker("console", lambda: self._read(console))
        self._reader.start()
        try:
            self.run: Run = start(spec, overrides=overrides, record=record, input=theirs, output=output, locked=locked)
        except BaseException:
            self._close(theirs, output)
            raise
        self._ender = Worker("end", lambda: self._end(theirs, output))
        self._ender.start()

    def _read(self, console: int) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while data := os.read(console, READ):
            with self._changed:
                self._text += decoder.decode(data.replace(b"\r", b""))
                self._changed.notify_all()
        os.close(console)
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _end(self, *descriptors: int) -> None:
        """Once the run is over, let the reader of the console end."""
        with suppress(Exception):  # result() raises it again, in the test
            self.run.result()
        self._close(*descriptors)

    def _close(self, *descriptors: int) -> None:
        for descriptor in descriptors:  # a send that waits for room ends now
            os.close(descriptor)
        with self._sending:
            os.close(self._input)
            self._input = -1
        self._reader.wait()

    @property
    def console(self) -> str:
        """All text of the console so far, without carriage returns."""
        with self._changed:
            return self._text

    def wait_for(self, text: str | re.Pattern[str], timeout: float = PATIENCE) -> re.Match[str]:
        """Wait until the console prints a text or a pattern, after the one that was last waited for. Raises
        NotPrintedError if that has not happened after ``timeout`` seconds, or the run has ended without it."""
        pattern = re.compile(re.escape(text)) if isinstance(text, str) else text
        deadline = time.monotonic() + timeout
        with self._changed:
            while (found := pattern.search(self._text, self._at)) is None:
                left = deadline - time.monotonic()
                if self._over or left <= 0:
                    raise NotPrintedError(self._missing(text, timeout))
                self._changed.wait(left)
            self._at = found.end()
        return found

    def _missing(self, wanted: object, timeout: float) -> str:
        when = "before the run ended" if self._over else f"within {timeout:g} s"
        lines = [printable(line) for line in self._text[self._at :].splitlines()[-SHOWN:]]
        what = f"pattern {wanted.pattern!r}" if isinstance(wanted, re.Pattern) else repr(wanted)
        came = "\n  ".join(["; since then it printed:", *lines]) if lines else ", and nothing else"
        return f"the console did not print {what} {when}{came}"

    def send(self, text: str | bytes) -> None:
        """Type a text, as a terminal sends it, into the device whose input is "stdin". Raises BrokenPipeError if the
        run has ended."""
        data = text.encode() if isinstance(text, str) else text
        with self._sending:
            if self._input < 0:
                raise BrokenPipeError(errno.EPIPE, "the run has ended")
            while data:
                data = data[os.write(self._input, data) :]

    def result(self, timeout: float | None = PATIENCE) -> Result:
        """Wait for the end of the run, and return what :func:`runner.run` returns. Raises TimeoutError."""
        return self.run.result(timeout)

    @property
    def status(self) -> int:
        """The exit status of vmrun for this run; waits for its end as :meth:`result` does."""
        return self.result().status

    def trace(self) -> "Trace":
        """The trace of the run; waits for its end. Raises ValueError if nothing was recorded."""
        from tracer import load

        path = self.result().trace
        if path is None:
            raise ValueError("the run was not recorded")
        return load(path)

    def stop(self) -> None:
        """End the run, if it has not ended, as Ctrl-C would; wait for that."""
        self.run.stop()
        self._ender.wait()
