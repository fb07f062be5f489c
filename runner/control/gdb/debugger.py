"""The debugger of one run: it waits for clients, and serves one after the other in a thread of its own."""

import select
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from runner.backends.unixsocket import Listener
from runner.control.gdb.address import TcpListener
from runner.control.gdb.conversation import Client, Conversation, Ended
from runner.control.gdb.machinetarget import MachineTarget
from runner.kvm.errors import HostError, KvmError
from runner.loop import Bell
from runner.machine.lifecycle import LifecycleError
from runner.machine.machine import Machine
from runner.machine.result import Ending, Result
from vmspec.host.threads import Worker

LATEST = 1.0  # seconds that the thread may take to return once the run has ended


class Debugger:
    """Serves the clients of a listener and those that control brings, or the one of two descriptors, which the caller
    closes.

    The guest goes on when a client leaves, however it does. With two descriptors nobody else can come, and the run
    ends.
    """

    def __init__(
        self,
        machine: Machine,
        source: Listener | TcpListener | Client | None,
        monitor: Callable[[str], str],
        notice: Callable[[str], None],
        target: Callable[[Machine, Callable[[str], str], Callable[[str], None]], MachineTarget] = MachineTarget,
    ) -> None:
        self._machine, self._source, self._monitor, self._notice = machine, source, monitor, notice
        self._target = target
        self._brought: deque[socket.socket] = deque()
        self._bell = Bell()  # rings when one is brought
        self._thread = Worker("gdb", self._serve)
        self._begun = False
        self._conversation: Conversation | None = None  # that outlasts the run
        self._end: socket.socket | None = None  # its client's
        self._returned = True

    def begin(self) -> None:
        """The machine runs, and its vCPUs are held. Raises ThreadError."""
        self._thread.start()
        self._begun = True

    def _serve(self) -> None:
        try:
            if self._machine.held:  # since it began: its clocks stop too
                self._machine.hold()
            if isinstance(self._source, Client):
                if self._converse(self._source, attached=False) is not Ended.RUN:
                    self._machine.end(Ending("interrupted", detail="the debugger has left"))
                return
            while self._await(self._source):
                pass
        except Exception as error:  # otherwise the guest would stand still for ever
            self._machine.end(Ending("interrupted", detail=f"the debugger failed: {error!r}"))

    def bring(self, end: socket.socket) -> None:
        """Serve a client that is connected, and close its connection. The loop's thread calls this."""
        self._brought.append(end)
        self._bell.ring()

    @property
    def busy(self) -> bool:
        """Whether there is a client."""
        return isinstance(self._source, Client) or self._end is not None or bool(self._brought)

    def _await(self, listener: Listener | TcpListener | None) -> bool:
        """Serve the next client; False once the run has ended."""
        poll = select.poll()
        if listener is not None:
            poll.register(listener, select.POLLIN)
        poll.register(self._bell.fd, select.POLLIN)
        poll.register(self._machine.stopping, select.POLLIN)
        poll.poll()
        if self._machine.stopping.is_set():
            return False
        with suppress(OSError):  # nobody waits there, or it has gone again
            if self._brought:
                self._bell.hush()
                self._end = self._brought[0]
                self._brought.popleft()
            elif listener is not None:
                self._end = listener.accept()
        if self._end is None:
            return True
        self._end.setblocking(True)
        if self._converse(Client(self._end.fileno(), self._end.fileno()), attached=True) is Ended.RUN:
            return False
        self._end.close()
        self._end = None
        return True

    def _converse(self, client: Client, attached: bool) -> Ended:
        try:
            if not self._machine.hold():
                return Ended.RUN
        except (TimeoutError, LifecycleError) as error:
            self._notice(f"gdb: the guest cannot be stopped, so the client is sent away: {error}")
            return Ended.LEFT
        try:
            target = self._target(self._machine, self._monitor, self._notice)
        except (HostError, KvmError) as error:
            self._machine.end(Ending("interrupted", detail=str(error)))
            return Ended.RUN
        try:
            conversation = Conversation(client, target, self._machine.stopping, attached)
            match conversation.serve():
                case Ended.LEFT as ended:
                    if target.stop():
                        target.leave()
                case Ended.KILLED as ended:
                    self._machine.end(Ending("interrupted", detail="killed by the debugger"))
                case ended:
                    self._conversation = conversation
            return ended
        except (KvmError, LifecycleError) as error:
            self._notice(f"gdb: {error}")
            self._machine.end(Ending("interrupted", detail=f"the debugger cannot stop the guest: {error}"))
            return Ended.RUN
        finally:
            target.close()

    def end(self) -> None:
        """The run has ended: nobody debugs the machine any more."""
        if self._begun:
            self._returned = self._thread.wait(LATEST)
        if self._source is not None and not isinstance(self._source, Client):
            self._source.close()

    @property
    def stuck(self) -> bool:
        """Whether a client's request still uses the machine."""
        return not self._returned

    def close(self, result: Result | None = None) -> None:
        """Report the result to a client that waits for it, and close its connection. A second call does nothing."""
        self.end()
        if self._conversation is not None:
            with suppress(OSError):
                self._conversation.end(result)
            self._conversation = None
        if self.stuck:
            return
        if self._end is not None:
            self._brought.append(self._end)
            self._end = None
        while self._brought:
            self._brought.pop().close()
        if self._bell.fd >= 0:
            self._bell.close()
