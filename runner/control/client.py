"""The client: ``runner.connect(name)``."""

import json
import os
import select
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from runner.control.errors import ControlError
from runner.control.names import Names, peer
from runner.control.protocol import VERSION, encode
from vmspec.host.pathtext import to_text

if TYPE_CHECKING:
    from runner.devices.virtio.balloon import Balloon

PATIENCE = 10.0  # seconds that a machine may take to answer
BRIEF = 1.0  # the same, to be listed
LONGEST = 64 << 20  # bytes of an answer


class Status(NamedTuple):
    """A machine: its ``name``, the process ``pid`` that runs it, and its ``state`` (running, paused, ended). ``spec``
    and ``trace`` are the paths of its files, or None; ``memory`` is bytes of RAM, ``seconds`` the time since the guest
    began, ``exits`` their number until now."""

    name: str
    pid: int
    state: str
    spec: str | None
    trace: str | None
    vcpus: int
    memory: int
    seconds: float
    exits: int


class Ended(NamedTuple):
    """How a run ended: the ``kind`` of end, vmrun's exit ``status``, and a sentence, or ""."""

    kind: str
    status: int | None
    detail: str


class AttachedConsole(NamedTuple):
    """A console: the ``socket`` that carries its text, both ways, and that the caller closes; the ``port``'s name; why
    the client only reads, or ""; the text that has come already."""

    socket: socket.socket
    port: str
    reads_only: str
    first: bytes


def connect(name: str, timeout: float = PATIENCE) -> "Control":
    """Connect to a running machine by its name. ``timeout`` is how many seconds it may take to answer, now and later.
    Raises ControlError."""
    return Control(name, timeout)


class Control:
    """A connection to a running machine, made by :func:`connect`. One thread at a time may use it. As a context manager
    it closes the connection at the end of the block; the machine runs on."""

    def __init__(self, name: str, timeout: float = PATIENCE) -> None:
        self.name = name
        self._timeout = timeout
        self._input = bytearray()
        self._ended: Ended | None = None
        self._id = 0
        self._end = _connected(name)
        try:
            self.pid = peer(self._end)
            greeting = self._message(timeout)
            if greeting.get("protocol") != VERSION:
                spoken = greeting.get("protocol")
                raise ControlError(
                    "protocol", f"{name} speaks version {spoken} of the protocol, and this vmrun {VERSION}"
                )
        except BaseException:
            self._end.close()
            raise

    def request(self, verb: str, arguments: Mapping[str, Any] | None = None, timeout: float | None = None) -> Any:
        """Send a request of the protocol, and return its result. Raises ControlError, also after ``timeout`` seconds
        without an answer; the connection is closed then."""
        patience = self._timeout if timeout is None else timeout
        self._id += 1
        with self._lost_if_it_fails():
            self._end.settimeout(self._timeout)
            self._end.sendall(encode({"id": self._id, "verb": verb, "arguments": arguments or {}}))
        message = self._message(patience)
        while "event" in message:
            message = self._message(patience)
        match message:
            case {"id": self._id, "result": result}:
                return result
            case {"error": {"kind": str(kind), "message": str(text)}}:
                raise ControlError(kind, f"{self.name}: {text}")  # type: ignore[arg-type]
            case _:
                self.close()
                raise ControlError("protocol", f"{self.name} answers with what is no answer: {message!r:.200}")

    def status(self) -> Status:
        """The machine's state and size."""
        return _status(self.name, self.pid, self.request("status"))

    def inspect(self, path: str = "") -> Any:
        """The machine as nested dictionaries, or the part of them at a path such as ``devices/serial0/state``.
        Registers and addresses are texts in hexadecimal. The guest stands still for a moment if the part has registers
        of vCPUs or states of devices."""
        return self.request("inspect", {"path": path}, 2 * self._timeout)["value"]

    def counters(self) -> dict[str, Any]:
        """How many exits there were, by reason (``exits``) and by the device that answered them (``devices``), in so
        many ``seconds``; also ``dropped`` records, ``interrupted`` entries of the guest, and the ``resident`` bytes of
        the machine's process."""
        found: dict[str, Any] = self.request("counters")
        return found

    def pause(self, timeout: float = 10.0) -> None:
        """Pause the guest, and return once it stands still. A device may take ``timeout`` seconds to return; the guest
        goes on if it does not. Does nothing if the guest is paused."""
        self.request("pause", {"timeout": timeout}, self._timeout + timeout)

    def resume(self) -> None:
        """Let a paused guest go on; does nothing if it runs."""
        self.request("resume")

    def dump(self, path: Path | str, timeout: float = 600.0) -> int:
        """Write guest memory and the registers of all vCPUs into an ELF core file, which appears whole or not at all.
        The guest stands still meanwhile. Returns the bytes of memory in the file. Raises ControlError, also after
        ``timeout`` seconds; the machine continues to write."""
        found = self.request("dump", {"path": to_text(Path(path).absolute())}, timeout)
        return int(found["bytes"])

    def snapshot(
        self, path: Path | str, stop: bool = False, timeout: float = 600.0, base: Path | str | None = None
    ) -> int:
        """Write the machine's state into a file, from which ``runner.run(path, restore=True)`` goes on. It appears
        whole or not at all. The guest stands still meanwhile; with ``stop`` the run then ends, as "interrupted".
        With ``base``, another snapshot, the file has only what differs from that, and needs it later. Returns the bytes
        of guest memory in the file. Raises ControlError, also after ``timeout`` seconds; the machine continues to
        write."""
        arguments: dict[str, Any] = {"path": to_text(Path(path).absolute()), "stop": stop}
        if base is not None:
            arguments["base"] = to_text(Path(base).absolute())
        return int(self.request("snapshot", arguments, timeout)["bytes"])

    def gdb(self) -> socket.socket:
        """Stop the guest for a debugger. Returns a socket that carries gdb's remote protocol, and that the caller
        closes: the guest then goes on. This connection is used up. Raises ControlError, also if there is a debugger
        already."""
        self.request("gdb")
        return self._handed_over()

    def console(self, port: str = "", types: bool = True) -> "AttachedConsole":
        """Attach to a console: to what a device prints, such as ``serial0``, or a port of one, as in
        ``virtio-console0.log``; "": the first. With ``types`` the guest gets what is sent, unless its input comes from
        elsewhere or another client types. This connection is used up. Raises ControlError."""
        found = self.request("console", {"port": port, "types": types})
        try:
            name, reads_only = str(found["port"]), str(found["reads_only"])
        except (KeyError, TypeError) as error:
            self.close()
            raise ControlError("protocol", f"{self.name} sent a console that is none: {error!r}") from error
        first = bytes(self._input)  # what came with the answer
        return AttachedConsole(self._handed_over(), name, reads_only, first)

    def _handed_over(self) -> socket.socket:
        """The connection as a socket of the caller's."""
        end = self._end.dup()
        end.settimeout(None)
        self.close()
        return end

    def power_button(self) -> None:
        """Press the power button, so that the guest powers off in order if it likes. The spec needs the device acpi."""
        self.request("power")

    def line_break(self, device: str = "") -> None:
        """Send a break to a serial port, by default the first."""
        self.request("break", {"device": device})

    def sysrq(self, key: str, device: str = "") -> None:
        """Press a magic SysRq key, such as ``"t"``, by a serial port or a virtio console that is the guest's console;
        by default by the first serial port."""
        self.request("sysrq", {"key": key, "device": device})

    def resize(self, columns: int, rows: int, device: str = "") -> None:
        """Tell the guest the size of the terminal behind a virtio console, by default the first."""
        self.request("resize", {"columns": columns, "rows": rows, "device": device})

    def nmi(self, vcpu: int | None = None) -> None:
        """Send a non-maskable interrupt to a vCPU, or to all. Linux prints what each processor does, or panics if
        kernel.unknown_nmi_panic is set."""
        self.request("nmi", {} if vcpu is None else {"vcpu": vcpu})

    def balloon(self, size: int | None = None) -> "Balloon":
        """The balloon's state; with ``size``, ask the guest first to return so many bytes in all. The guest is asked
        for newer statistics, which a later call returns. The spec needs the device virtio-balloon."""
        from runner.devices.virtio.balloon import Balloon  # late: it imports virtio devices

        found = self.request("balloon", {} if size is None else {"size": size})
        try:
            return Balloon(found["target"], found["actual"], dict(found["statistics"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ControlError("protocol", f"{self.name} sent a balloon that is none: {error!r}") from error

    def stop(self, timeout: float = 60.0) -> Ended:
        """End the run as Ctrl-A x does, and wait until its trace is complete, at most ``timeout`` seconds."""
        self.request("stop")
        return self.wait(timeout)

    def reset(self, timeout: float = 60.0) -> Ended:
        """Press the reset button. A reset ends the run, as one by the guest does. Waits as :meth:`stop` does."""
        self.request("reset")
        return self.wait(timeout)

    def wait(self, timeout: float | None = None) -> Ended:
        """Wait for the end of the run, at most ``timeout`` seconds. Raises ControlError if it does not come, or if
        vmrun is killed."""
        latest = None if timeout is None else time.monotonic() + timeout
        while self._ended is None:
            try:
                self._message(None if latest is None else max(0.0, latest - time.monotonic()))
            except ControlError:
                if self._ended is None:
                    raise
        return self._ended

    def kill(self, timeout: float = 10.0) -> None:
        """Kill the process that runs the machine, which may be a program of yours that runs others too, and wait until
        it has ended. Its recorder still completes the trace."""
        end_process(self._end, self.name, self.pid, timeout)
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _message(self, timeout: float | None) -> dict[str, Any]:
        latest = None if timeout is None else time.monotonic() + timeout
        searched = 0
        while (at := self._input.find(b"\n", searched)) < 0:
            searched = len(self._input)
            with self._lost_if_it_fails():
                self._end.settimeout(None if latest is None else max(0.001, latest - time.monotonic()))
                data = self._end.recv(1 << 16)
            if not data or searched > LONGEST:
                self.close()
                raise ControlError("lost", f"{self.name} has closed the connection")
            self._input += data
        line = bytes(self._input[:at])
        del self._input[: at + 1]
        try:
            message: dict[str, Any] = json.loads(line)
            if message.get("event") == "ended":
                self._ended = Ended(message["kind"], message["status"], message["detail"])
        except (ValueError, AttributeError, KeyError, RecursionError) as error:
            self.close()
            raise ControlError("protocol", f"{self.name} sent a line that is no message: {error!r}") from error
        return message

    @contextmanager
    def _lost_if_it_fails(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            self.close()
            raise ControlError("lost", f"{self.name} (process {self.pid}) does not answer") from error
        except OSError as error:
            self.close()
            raise ControlError("lost", f"{self.name} has closed the connection") from error


def _status(name: str, pid: int, values: dict[str, Any]) -> Status:
    try:
        return Status(name=name, pid=pid, **{key: values[key] for key in Status._fields[2:]})
    except (KeyError, TypeError) as error:
        raise ControlError("protocol", f"{name} sent a status that is none: {error!r}") from error


def _connected(name: str, timeout: float = BRIEF) -> socket.socket:
    """A connection; while too many clients wait for one, it tries for ``timeout`` seconds. Raises ControlError. The
    socket of a machine that was killed is removed."""
    latest = time.monotonic() + timeout
    try:
        names = Names()
    except OSError as error:
        raise ControlError("name", f"no machine can be found: {error.filename}: {error.strerror}") from error
    try:
        while True:
            try:
                end = names.connected(name)
                break
            except BlockingIOError as error:
                if time.monotonic() > latest:
                    raise ControlError("lost", f"{name} does not answer: too many clients wait for it") from error
                time.sleep(0.01)
        if end is not None:
            end.setblocking(True)
            return end
        names.clear(name)
        raise ControlError("name", f"no machine named {name!r} runs: vmrun list shows those that do")
    except OSError as error:
        raise ControlError("name", f"{name} cannot be reached: {error.strerror}") from error
    finally:
        names.close()


def end_process(end: socket.socket, name: str, pid: int, timeout: float) -> None:
    """Kill the process at the other end of a connection, and wait for its end. Raises ControlError."""
    try:
        process = os.pidfd_open(pid)
    except OSError as error:
        raise ControlError("lost", f"{name}: its process {pid} has ended") from error
    try:
        # The number may be another process's since, but not while the machine's process holds the connection open.
        if _closed(end):
            raise ControlError("lost", f"{name}: its process {pid} has ended")
        signal.pidfd_send_signal(process, signal.SIGKILL)
        over = select.poll()
        over.register(process, select.POLLIN)
        if not over.poll(1000 * timeout):
            raise ControlError("failed", f"{name}: its process {pid} has not ended after {timeout:g} s")
    except OSError as error:
        raise ControlError("failed", f"{name}: its process {pid} cannot be killed: {error.strerror}") from error
    finally:
        os.close(process)


def _closed(end: socket.socket) -> bool:
    """Whether the other end of a connection is closed."""
    try:
        return not end.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def kill(name: str, timeout: float = 10.0) -> int:
    """Kill the process of a machine, also of one that does not answer; returns its number. Raises ControlError."""
    with _connected(name) as end:
        pid = peer(end)
        end_process(end, name, pid, timeout)
        return pid


def running() -> tuple[Status, ...]:
    """The machines that can be controlled, in the order of their names. One that does not answer within a second has
    the state "silent", and zeros. Sockets of machines that were killed are removed. Raises ControlError."""
    try:
        names = Names()
    except OSError as error:
        raise ControlError("name", f"no machine can be found: {error.filename}: {error.strerror}") from error
    try:
        return tuple(filter(None, map(_found, list(names))))
    finally:
        names.close()


def _found(name: str) -> Status | None:
    try:
        with Control(name, BRIEF) as control:
            return control.status()
    except ControlError as error:
        return None if error.kind == "name" else _silent(name)


def _silent(name: str) -> Status:
    pid = 0
    with suppress(ControlError), _connected(name, 0) as end:
        pid = peer(end)
    return Status(name, pid, "silent", None, None, 0, 0, 0.0, 0)
