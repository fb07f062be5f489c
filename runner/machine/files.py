"""The files of a run's devices, opened once and compared while open. Links may have changed since the spec was checked,
and a path that led to no file then may lead to one now."""

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from runner.backends.filelock import locked
from runner.devices import DeviceError
from vmspec.image import disk
from vmspec.image.source import ImageError
from vmspec.schema.problems import Problem, SpecError
from vmspec.spec import fileuse
from vmspec.spec.fileuse import Named, Use


class Files:
    """Files that devices read and write. A file that ``names`` has with another use is rejected before it is written.
    With ``appends``, what devices print comes after what is in a file."""

    def __init__(self, names: Iterable[Named], appends: bool = False) -> None:
        self._names = names
        self._flags = os.O_APPEND if appends else 0
        self._uses: list[Use] | None = None
        self._open: list[int] = []

    def open(self, where: str, path: Path, writes: bool) -> int:
        """Open the file at a path, for the key ``where``; :meth:`close` closes it. A file that is written is truncated.
        Raises DeviceError if it cannot be opened, SpecError if it has another use."""
        flags = os.O_WRONLY | os.O_CREAT | self._flags if writes else os.O_RDONLY
        try:
            # Do not wait for a pipe's other end. Do not make a terminal this session's controlling one.
            fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o666)
            self._open.append(fd)
            mode = os.fstat(fd).st_mode
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            self._claim(Use(where, path, fileuse.opened(fd), writes))
            if writes and stat.S_ISREG(mode) and not self._flags:
                os.ftruncate(fd, 0)
        except OSError as error:
            why = "the pipe has no reader" if error.errno == errno.ENXIO else error.strerror
            raise DeviceError(f"{where}: cannot open {path}: {why}") from error
        return fd

    def image(
        self, where: str, path: Path, writes: bool, direct: bool = False, sectors: bool = True
    ) -> tuple[int, int]:
        """The same for an image that another process locks and reads; it may have any size without ``sectors``."""
        flags = os.O_DIRECT if direct else 0
        if writes and path.is_block_device():
            flags |= os.O_EXCL  # fails while the host has mounted it
        try:
            fd, size = disk.opened(path, writes, flags, sectors)
        except ImageError as error:
            raise DeviceError(f"{where}: {path} {error}") from error
        self._open.append(fd)
        self._claim(Use(where, path, fileuse.opened(fd), writes))
        return fd, size

    def disk(self, where: str, path: Path, writes: bool, direct: bool) -> tuple[int, int]:
        """Open a disk image for the key ``where``: its descriptor, which :meth:`close` closes, and its size in bytes.
        Raises as :meth:`open`."""
        fd, size = self.image(where, path, writes, direct)
        if (holder := locked(fd, writes)) is not None:
            raise DeviceError(f"{where}: {path} is in use by {holder}")
        return fd, size

    def mapped(self, where: str, path: Path, fd: int) -> None:
        """Use an image that is open and mapped, for the key ``where``. Raises as :meth:`open`."""
        self._claim(Use(where, path, fileuse.opened(fd), writes=False))
        if (holder := locked(fd, writes=False)) is not None:
            raise DeviceError(f"{where}: {path} is in use by {holder}")

    def temporary(self, where: str, size: int) -> int:
        """A new file of so many bytes, all 0, without a name, in ``$TMPDIR`` or /var/tmp; :meth:`close` closes it.
        Raises DeviceError."""
        from tempfile import TemporaryFile  # late: few guests need it

        directory = os.environ.get("TMPDIR") or "/var/tmp"
        try:
            # It does without O_TMPFILE where a file system has none, as overlayfs before Linux 6.3.
            with TemporaryFile(dir=directory, buffering=0) as file:
                fd = os.dup(file.fileno())
            self._open.append(fd)
            os.ftruncate(fd, size)
        except OSError as error:
            raise DeviceError(
                f"{where}: cannot make a temporary file of {size} bytes in {directory}: {error.strerror}"
                "; TMPDIR names another place"
            ) from error
        return fd

    def standard(self, name: str, fd: int, writes: bool) -> None:
        """The use of a descriptor that vmrun was started with. Raises SpecError if it is a file with another use."""
        self._claim(Use(name, Path(name), fileuse.opened(fd), writes))

    def close(self) -> None:
        """Close the descriptors opened here."""
        while self._open:
            os.close(self._open.pop())

    def _claim(self, use: Use) -> None:
        if use.identity is None:
            return
        if self._uses is None:
            self._uses = list(fileuse.uses(self._names))
        # The target of its path when the spec was read no longer counts.
        self._uses = [*(other for other in self._uses if other.where != use.where), use]
        for where, message in fileuse.conflicts(self._uses):
            # The spec has no key for a descriptor that vmrun was started with, so the message begins with its name.
            raise SpecError((Problem("" if message.startswith(where) else where, message),))
