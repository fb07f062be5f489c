"""The folder of the control sockets, and the names of machines in it."""

import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

from runner.backends.unixsocket import DIRECTORY, Listener, within
from runner.control.errors import ControlError

SUFFIX = ".sock"
LONGEST = 80  # bytes of a name as the name of a file: its address, /proc/self/fd/NUMBER/NAME.sock, has 107 at most
PRIVATE = 0o700
WAIT = 1.0  # seconds to wait for another process that makes or removes a socket
COPIES = 1000  # machines of one name that get names of their own


class Owner(NamedTuple):
    """A name that is in use, and the process that uses it, 0 if that is not known."""

    name: str
    pid: int


def folder() -> Path:
    """The folder of the sockets: vmrun in XDG_RUNTIME_DIR. Without that variable, vmrun in /run/user/UID if that is a
    folder of the user's, else /tmp/vmrun-UID/control."""
    user = os.getuid()
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(given):  # noqa: PTH117 - the XDG Base Directory Specification says to ignore relative paths
        return Path(given) / "vmrun"
    usual = Path(f"/run/user/{user}")
    with suppress(OSError):
        if usual.stat().st_uid == user:
            return usual / "vmrun"
    return Path(f"/tmp/vmrun-{user}/control")


def file_name(name: str) -> str:
    """The name of the socket's file. Raises ControlError if the name is empty, too long, or no text."""
    try:
        quoted = quote(name, safe=" +,=@:()", errors="surrogateescape")
    except UnicodeEncodeError as error:  # a surrogate that stands for no byte of the command line
        raise ControlError("argument", f"the name {name!r} is no text: give another name") from error
    if quoted.startswith("."):
        quoted = "%2E" + quoted[1:]
    if not name or len(quoted) > LONGEST:
        what = f"is longer than {LONGEST} bytes" if name else "is empty"
        raise ControlError("argument", f"the name {name!r} {what}: give another name")
    return quoted + SUFFIX


def fitting(name: str) -> str:
    """The name, cut if it is too long for a file's name."""
    while len(quote(name, safe=" +,=@:()", errors="surrogateescape")) > LONGEST - len(f" {COPIES}"):
        name = name[:-1]
    return name


class Names:
    """The names in use, in the folder of the sockets. The folder belongs to the user alone, and is made if it is not
    there. Raises OSError."""

    def __init__(self) -> None:
        self.path = folder()
        for place in (self.path.parent, self.path) if self.path.parent.parent == Path("/tmp") else (self.path,):
            with suppress(FileExistsError):
                place.mkdir(PRIVATE)
            status = place.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
                raise PermissionError(errno.EPERM, "it is not a folder of yours: remove it", str(place))
            if stat.S_IMODE(status.st_mode) != PRIVATE:
                place.chmod(PRIVATE)
        self._directory = os.open(self.path, DIRECTORY)

    def close(self) -> None:
        """Close the folder."""
        os.close(self._directory)

    def __iter__(self) -> Iterator[str]:
        """All names in their order, those of dead machines too."""
        files = (path.name for path in Path(self._directory_path()).iterdir() if path.suffix == SUFFIX)
        yield from sorted(unquote(file.removesuffix(SUFFIX), errors="surrogateescape") for file in files)

    def claim(self, name: str, wait: float = WAIT) -> Listener:
        """Listen under a name. Raises ControlError if a living machine has it; BlockingIOError if another process holds
        the folder longer than ``wait`` seconds; OSError and BackendError if there can be no socket."""
        with self._held(wait):
            if (owner := self._owner(name)) is not None:
                who = f"process {owner.pid}" if owner.pid else "another process"
                raise ControlError("name", f"the name {name!r} is in use by {who}: give another one with --name")
            listener = Listener(self.path / file_name(name), "control")
            Path(listener.address).chmod(0o600)
            return listener

    def claim_like(self, name: str, wait: float = WAIT) -> tuple[str, Listener]:
        """Listen under the name, or the first of NAME-2, NAME-3 and so on that is free. Raises as :meth:`claim`."""
        for candidate in (name, *(f"{name}-{number}" for number in range(2, COPIES))):
            try:
                return candidate, self.claim(candidate, wait)
            except ControlError as error:
                if error.kind != "name":
                    raise
        raise ControlError("name", f"the names from {name!r} to '{name}-{COPIES - 1}' are all in use")

    def connected(self, name: str) -> socket.socket | None:
        """A socket connected to the machine; None if there is none of that name. Raises OSError: EAGAIN if more clients
        wait there than it lets wait."""
        end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            match end.connect_ex(self._address(name)):
                case 0:
                    return end
                case errno.ENOENT | errno.ECONNREFUSED:
                    pass
                case number:
                    raise OSError(number, os.strerror(number))
        except BaseException:
            end.close()
            raise
        end.close()
        return None

    def clear(self, name: str) -> bool:
        """Remove the socket of a machine that was killed; returns whether it did."""
        try:
            with self._held(0):
                if self._owner(name) is None:
                    Path(self._address(name)).unlink()
                    return True
        except OSError:  # somebody else does it, or has done it
            pass
        return False

    def _owner(self, name: str) -> Owner | None:
        try:
            end = self.connected(name)
        except BlockingIOError:
            return Owner(name, 0)
        if end is None:
            return None
        with end:
            return Owner(name, peer(end))

    @contextmanager
    def _held(self, wait: float) -> Iterator[None]:
        """No other process makes or removes a socket meanwhile: between bind and listen, one looks like a dead one."""
        lock = os.open(self._directory_path(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            latest = time.monotonic() + wait
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= latest:
                        raise
                    time.sleep(0.01)
            yield
        finally:
            os.close(lock)

    def _directory_path(self) -> str:
        return f"/proc/self/fd/{self._directory}/."

    def _address(self, name: str) -> str:
        return within(self._directory, Path(file_name(name)))


def peer(end: socket.socket) -> int:
    """The process that listens at the other end."""
    return int.from_bytes(end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), "little")
