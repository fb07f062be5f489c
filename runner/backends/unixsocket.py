"""Unix sockets of the host at paths of any length."""

import errno
import os
import socket
import stat
from pathlib import Path

from runner.devices.device import DeviceError

BACKLOG = 128


class Listener:
    """A socket that listens at a path, and does not block. A socket that is there already, at which nobody listens, was
    left behind and is replaced. Raises DeviceError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bound: tuple[int, int] | None = None
        self._directory = -1
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            # An address has 107 bytes at most: the directory is named by its descriptor.
            self._directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self.address = f"/proc/self/fd/{self._directory}/{path.name}"
            self._clear()
            self._socket.bind(self.address)
            self._bound = self._identity()
            self._socket.listen(BACKLOG)
        except OSError as error:
            self.close()
            match error.errno:
                case errno.EADDRINUSE:
                    why = "another process has just made it: give another path"
                case _:
                    why = error.strerror or str(error)
            raise DeviceError(f"cannot listen at {path}: {why}") from error
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def _clear(self) -> None:
        """Remove what a run that was killed has left behind."""
        try:
            mode = os.lstat(self.address).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise DeviceError(f"cannot listen at {self._path}: it is no socket: remove it, or give another path")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as caller:
            match caller.connect_ex(self.address):
                case errno.ECONNREFUSED:
                    Path(self.address).unlink()
                case errno.ENOENT:
                    pass
                case 0 | errno.EAGAIN:
                    raise DeviceError(
                        f"cannot listen at {self._path}: another process does: end it, or give another path"
                    )
                case error:
                    raise OSError(error, os.strerror(error))

    def _identity(self) -> tuple[int, int]:
        status = os.lstat(self.address)
        return status.st_dev, status.st_ino

    def close(self) -> None:
        """Stop listening, and remove the socket, unless another has its place. A second call does nothing."""
        self._socket.close()
        if self._directory < 0:
            return
        try:
            if self._bound is not None and self._identity() == self._bound:
                Path(self.address).unlink()
        except OSError:
            pass  # somebody removed it, or its directory
        os.close(self._directory)
        self._directory = -1
