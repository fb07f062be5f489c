"""The conversation with one client, from its connection until it leaves or the run ends."""

import os
import select
from enum import Enum
from typing import NamedTuple

from runner.control.gdb.breakpoints import BreakpointError
from runner.control.gdb.machinetarget import MachineTarget
from runner.control.gdb.packets import Byte, Packet, PacketError, Reader, packet
from runner.control.gdb.resuming import Back, Resume
from runner.control.gdb.stub import Output, Over, Stub
from runner.control.gdb.target import SIGINT, Stop
from runner.kvm.errors import KvmError
from runner.loop import Latch
from runner.machine.result import Result
from vmspec.host.printable import printable

PIECE = 4096  # bytes that are read or written at once: a pipe that can be written has room for so many (PIPE_BUF)
BUSY = b"E.the guest runs: interrupt it first"


class Ended(Enum):
    """How a conversation ended."""

    LEFT = "left"  # the client detached, or has gone: the guest goes on
    KILLED = "killed"  # the client wants the run to end
    RUN = "run"  # the run has ended


class Client(NamedTuple):
    """The descriptors of a connection, one of which may be both."""

    reads: int
    writes: int


class GoneError(Exception):
    """The client has gone."""


class Conversation:
    """Serves one client in the calling thread. The machine is held."""

    def __init__(self, client: Client, target: MachineTarget, stopping: Latch, attached: bool) -> None:
        """``stopping`` is set at the end of the run, ``attached`` as for :class:`Stub`."""
        self._client, self._target, self._stopping = client, target, stopping
        self._stub = Stub(target, attached)
        self._reader = Reader()
        self._sent = b""  # the last packet
        self._actions: Resume | Back | None = None  # what the vCPUs do; None: the guest stands still

    def serve(self) -> Ended:
        """Until the end of the conversation. Raises KvmError if the machine does not do as it must."""
        try:
            while True:
                readable = self._wait(self._client.reads, select.POLLIN)
                if readable is None:
                    return Ended.RUN
                if not readable:
                    self._stopped()
                    continue
                if not (data := os.read(self._client.reads, PIECE)):
                    return Ended.LEFT
                last = None
                for each in self._reader.feed(data):
                    if each == last and self._stub.acknowledges:
                        continue  # a packet that was sent again before this one's answer came, as while vmrun starts
                    last = each
                    if (ended := self._take(each)) is not None:
                        return ended
        except (GoneError, OSError, PacketError) as error:
            if isinstance(error, KvmError):
                raise
            return Ended.RUN if self._stopping.is_set() else Ended.LEFT

    def _wait(self, fd: int, event: int) -> bool | None:
        """Wait for a descriptor of the client's; False: a vCPU has stopped instead; None: the run has ended."""
        poll = select.poll()
        poll.register(fd, event)
        poll.register(self._stopping, select.POLLIN)
        if event == select.POLLIN:
            poll.register(self._target.event.fd, select.POLLIN)
        ready = {each for each, _ in poll.poll()}
        if self._stopping.is_set():
            return None
        return self._target.event.fd not in ready

    def _take(self, what: Packet | Byte) -> Ended | None:
        match what:
            case Byte.GOOD:
                pass
            case Byte.AGAIN:
                self._write(self._sent)
            case Byte.STOP:
                self._interrupt()
            case Packet(None):
                if not self._stub.acknowledges:
                    raise PacketError("a packet has a wrong checksum, and cannot be asked for again")
                self._write(Byte.AGAIN.value)
            case Packet(bytes(data)):
                if self._stub.acknowledges:
                    self._write(Byte.GOOD.value)
                return self._do(data)
        return None

    def _do(self, data: bytes) -> Ended | None:
        if self._actions is not None:
            self._send(BUSY)
            return None
        match self._stub.answer(data):
            case bytes(answer):
                self._send(answer)
            case Output() as output:
                for each in output.packets():
                    self._send(each)
            case Resume() as actions:
                self._go(actions)
            case Back() as back:
                self._back(back)
            case Over.DETACH:
                self._send(b"OK")
                return Ended.LEFT
            case Over.KILL:
                if data.startswith(b"vKill"):
                    self._send(b"OK")
                return Ended.KILLED
        return None

    def _go(self, actions: Resume) -> None:
        self._actions = actions
        if (stop := self._target.go(actions.actions)) is not None:
            self._report(stop)

    def _back(self, back: Back) -> None:
        try:
            self._target.back(back.step)
        except BreakpointError as error:
            self._send(b"E." + printable(str(error)).encode())
        else:
            self._actions = back

    def _interrupt(self) -> None:
        if self._actions is not None and self._target.stop():
            # A vCPU may have met a breakpoint in the same moment; it then meets it again.
            self._report(self._target.taken() or Stop(self._stub.stop.vcpu, SIGINT))

    def _stopped(self) -> None:
        """A vCPU has stopped, or did so before the client interrupted."""
        self._target.event.hush()
        if self._actions is None or not self._target.stop():
            return
        if (stop := self._target.taken()) is not None:
            self._report(stop)
        elif isinstance(self._actions, Resume):
            self._go(self._actions)

    def _report(self, stop: Stop) -> None:
        self._actions = None
        self._send(self._stub.stopped(stop))

    def _send(self, data: bytes) -> None:
        self._sent = packet(data)
        self._write(self._sent)

    def _write(self, data: bytes) -> None:
        for at in range(0, len(data), PIECE):
            rest = data[at : at + PIECE]
            while rest:
                if self._wait(self._client.writes, select.POLLOUT) is None:
                    raise GoneError
                rest = rest[os.write(self._client.writes, rest) :]

    def end(self, result: Result | None) -> None:
        """Report the run's exit status to a client that waits for a stop, if it can be sent at once."""
        if self._actions is None or result is None:
            return
        poll = select.poll()
        poll.register(self._client.writes, select.POLLOUT)
        if any(events == select.POLLOUT for _, events in poll.poll(0)):
            os.write(self._client.writes, packet(b"W%02x" % result.status))
