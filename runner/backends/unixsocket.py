"""Unix sockets of the host at paths of any length."""

import errno
import os
import socket
import stat
from pathlib import Path

from runner.backends.errors import BackendError

BACKLOG = 128
DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class Listener:
    """A socket that listens at a path, and does not block. A socket that is there already, at which nobody listens, was
    left behind and is replaced. Raises BackendError for the key that gives the path."""

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._key = path, key
        self._bound: tuple[int, int] | None = None
        self._directory = -1
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._directory = os.open(path.parent, DIRECTORY)
            self.address = within(self._directory, path)
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
            raise self._unable(why) from error
        except BaseException:
            self.close()
            raise

    def accept(self) -> socket.socket:
        """The next client's end, which does not block either. Raises OSError."""
        end, _ = self._socket.accept()
        end.setblocking(False)
        return end

    def _unable(self, why: str) -> BackendError:
        return BackendError(self._key, f"cannot listen at {self._path}: {why}")

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
            raise self._unable("it is not a socket: remove it, or give another path")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as caller:
            match caller.connect_ex(self.address):
                case errno.ECONNREFUSED:
                    Path(self.address).unlink()
                case errno.ENOENT:
                    pass
                case 0 | errno.EAGAIN:
                    raise self._unable("another process does: end it, or give another path")
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


def connected(path: Path, key: str) -> socket.socket:
    """A socket that is connected to a program that listens at a path. Raises BackendError for the key that gives it."""
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory = -1
    try:
        directory = os.open(path.parent, DIRECTORY)
        end.connect(within(directory, path))
    except OSError as error:
        end.close()
        match error.errno:
            case errno.ENOENT:
                why = "there is no such socket: start the other side first"
            case errno.ECONNREFUSED:
                is_socket = path.is_socket()
                why = "no program listens there: start the other side first" if is_socket else "it is not a socket"
            case _:
                why = error.strerror or str(error)
        raise BackendError(key, f"cannot connect to {path}: {why}") from error
    finally:
        if directory >= 0:
            os.close(directory)
    return end


def within(directory: int, path: Path) -> str:
    """The address of a path in an open directory. It is short, and an address has 107 bytes at most."""
    return f"/proc/self/fd/{directory}/{path.name}"
