"""How a back end is reached: a program that vmrun starts, or a socket at which one listens."""

import os
import socket
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from runner.backends.errors import BackendError
from runner.backends.program import Program
from runner.backends.unixsocket import DIRECTORY, within
from runner.backends.vhost.backend import BackEnd
from runner.backends.vhost.connection import STARTING
from runner.backends.vhost.session import Session
from vmspec.host.scratch import scratch

# What the words of a command name: descriptors that the program inherits, and a path.
LISTENER, CONNECTION, PATH = "{listener}", "{connection}", "{socket}"
PAUSE = 0.01  # seconds between two looks whether the program listens


def called(path: Path, key: str) -> Session:
    """Call the back end that listens at a path. Raises BackendError for ``key``."""
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        directory = os.open(path.parent, DIRECTORY)
        try:
            address = within(directory, path)
            if not stat.S_ISSOCK(os.stat(address).st_mode):  # noqa: PTH116 - a path of a descriptor
                raise BackendError(key, f"{path} is no socket: give the one at which the back end listens")
            end.setblocking(False)  # one that accepts nobody must not hold up the guest's vCPU
            end.connect(address)
            end.setblocking(True)
        finally:
            os.close(directory)
    except FileNotFoundError as error:
        end.close()
        raise BackendError(key, f"there is no {path}: start the back end first") from error
    except ConnectionRefusedError as error:
        end.close()
        raise BackendError(key, f"nobody listens at {path}: start the back end first") from error
    except OSError as error:
        end.close()
        raise BackendError(key, f"cannot connect to {path}: {error.strerror}") from error
    except BaseException:
        end.close()
        raise
    return Session(end, None)


def started(words: Sequence[str], directory: Path, key: str, quiet: bool, descriptors: Sequence[int] = ()) -> Session:
    """Start a back end and connect to it. It is connected before it runs, or listens at a path that only this user can
    reach, so nobody else takes its place. Raises BackendError for ``key``."""

    def run(name: str, value: str, inherited: Sequence[int]) -> Program:
        command = [word.replace(name, value) for word in words]
        return Program(command, [*inherited, *descriptors], directory, key, quiet)

    try:
        if any(CONNECTION in word for word in words):
            end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            with theirs:
                return _session(end, lambda: run(CONNECTION, str(theirs.fileno()), [theirs.fileno()]))
        with scratch(Path(gettempdir()), "vmrun-socket-") as folder:
            path = folder / "socket"
            end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            if any(PATH in word for word in words):
                return _session(end, lambda: _awaited(run(PATH, str(path), []), end, path, key))
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
                return _session(end, lambda: _listening(listener, end, path, run))
    except OSError as error:
        raise BackendError(key, f"cannot make a socket in {gettempdir()}: {error.strerror or error}") from error


def _session(end: socket.socket, run: Callable[[], Program]) -> Session:
    try:
        return Session(end, run())
    except BaseException:
        end.close()
        raise


def _listening(
    listener: socket.socket, end: socket.socket, path: Path, run: Callable[[str, str, Sequence[int]], Program]
) -> Program:
    """Connect to a socket, then let the program have it."""
    listener.bind(str(path))
    listener.listen(1)
    end.connect(str(path))
    return run(LISTENER, str(listener.fileno()), [listener.fileno()])


def _awaited(program: Program, end: socket.socket, path: Path, key: str) -> Program:
    """Connect once the program listens."""
    try:
        for _ in range(int(STARTING / PAUSE)):
            try:
                end.connect(str(path))
                return program
            except (FileNotFoundError, ConnectionRefusedError):
                if program.ended(PAUSE):
                    raise BackendError(key, program.fate()) from None
        raise BackendError(key, f"{program.name} does not listen at its socket within {STARTING:g} s")
    except BaseException:
        program.end()
        raise


def opened(options: Mapping[str, Any], directory: Path) -> BackEnd:
    """The back end of a vhost-user device's options; ``directory`` is the spec's. Raises BackendError."""

    def start() -> Session:
        if options["socket"] is not None:
            return called(Path(options["socket"]), "socket")
        return started(options["command"], directory, "command", quiet=False)

    key = "command" if options["socket"] is None else "socket"
    return BackEnd(start, options["queues"], options["config-size"], key)
