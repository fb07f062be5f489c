"""The files of a run's devices, opened once and compared as they are open: links may have changed since the spec was
checked, and what was no file then is one now."""

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from runner.devices import DeviceError
from vmspec.schema.problems import Problem, SpecError
from vmspec.spec import fileuse
from vmspec.spec.fileuse import Named, Use


class Files:
    """What devices read and write. A file with another use in the run, whose files ``names`` has, is refused before it
    is written to."""

    def __init__(self, names: Iterable[Named]) -> None:
        self._names = names
        self._uses: list[Use] | None = None
        self._open: list[int] = []

    def open(self, where: str, path: Path, writes: bool) -> int:
        """A descriptor of the file at a path, for the key ``where``; :meth:`close` closes it. A file that is written
        begins anew. Raises DeviceError where it cannot be opened, SpecError where it has another use."""
        flags = os.O_WRONLY | os.O_CREAT if writes else os.O_RDONLY
        try:
            # Neither waiting for a pipe's other end, nor taking a terminal for our own.
            fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o666)
            self._open.append(fd)
            mode = os.fstat(fd).st_mode
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            self._claim(Use(where, path, fileuse.opened(fd), writes))
            if writes and stat.S_ISREG(mode):
                os.ftruncate(fd, 0)
        except OSError as error:
            why = "nobody has the pipe open to read" if error.errno == errno.ENXIO else error.strerror
            raise DeviceError(f"{where}: cannot open {path}: {why}") from error
        return fd

    def standard(self, name: str, fd: int, writes: bool) -> None:
        """The use of a descriptor that vmrun was started with. Raises SpecError where it is a file with another use."""
        self._claim(Use(name, Path(name), fileuse.opened(fd), writes))

    def close(self) -> None:
        """Close what was opened here."""
        while self._open:
            os.close(self._open.pop())

    def _claim(self, use: Use) -> None:
        if use.identity is None:
            return
        if self._uses is None:
            self._uses = list(fileuse.uses(self._names))
        # What its path led to when the spec was read does not count any more.
        self._uses = [*(other for other in self._uses if other.where != use.where), use]
        for where, message in fileuse.conflicts(self._uses):
            # What vmrun was started with has no key of the spec, and the message begins with its name.
            raise SpecError((Problem("" if message.startswith(where) else where, message),))
