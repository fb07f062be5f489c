"""Where vmrun waits for gdb: ``HOST:PORT``, ``:PORT`` on this machine, or ``unix:PATH``."""

import errno
import socket
from pathlib import Path
from typing import NamedTuple

from runner.backends.errors import BackendError
from runner.backends.unixsocket import Listener
from runner.kvm.errors import HostError
from vmspec.host.printable import printable

LOOPBACK = "127.0.0.1"
UNIX = "unix:"


class Address(NamedTuple):
    """An address of TCP, or the path of a Unix socket."""

    host: str = LOOPBACK
    port: int = 0
    path: Path | None = None

    @classmethod
    def of(cls, text: str) -> "Address":
        """The address that a text names. Raises ValueError."""
        if text.startswith(UNIX):
            if not (path := text.removeprefix(UNIX)):
                raise ValueError("unix: needs a path, as in unix:/tmp/gdb.sock")
            return cls(path=Path(path))
        host, colon, port = text.rpartition(":")
        if not colon or not port.isdecimal() or not port.isascii() or int(port) > 0xFFFF:
            raise ValueError(f"{text!r} is no address: give HOST:PORT, :PORT or unix:PATH, as in :1234")
        return cls(host.removeprefix("[").removesuffix("]") or LOOPBACK, int(port))


class TcpListener:
    """A socket of TCP that listens, and does not block."""

    def __init__(self, host: str, port: int) -> None:
        """Raises OSError."""
        try:
            family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        except UnicodeError as error:  # of the encoding of names (RFC 3490)
            raise OSError(errno.EINVAL, f"{host!r} is no name of a host") from error
        self._socket = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(where)
            self._socket.listen(1)
        except BaseException:
            self._socket.close()
            raise

    @property
    def port(self) -> int:
        """The port, also if any was good enough."""
        return int(self._socket.getsockname()[1])

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def accept(self) -> socket.socket:
        """The next client's end. Raises OSError."""
        end, _ = self._socket.accept()
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return end

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


def listening(address: Address) -> tuple[Listener | TcpListener, str]:
    """Listen; returns what gdb's command ``target remote`` is to be given, too. Raises HostError."""
    try:
        if address.path is not None:
            return Listener(address.path, "--gdb"), printable(str(address.path))
        listener = TcpListener(address.host, address.port)
    except BackendError as error:
        raise HostError(str(error)) from error
    except OSError as error:
        where = printable(f"{address.host}:{address.port}")
        raise HostError(f"--gdb: cannot listen at {where}: {error.strerror}; give another address") from error
    host = f"[{address.host}]" if ":" in address.host else address.host
    return listener, f"{host}:{listener.port}"
