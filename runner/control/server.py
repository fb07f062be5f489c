"""The server of one machine: it accepts clients on the machine's loop, and answers their requests."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from runner.backends.unixsocket import Listener
from runner.control.connection import Connection, Taker
from runner.control.errors import ControlError
from runner.control.protocol import Message, Request, answer, refusal
from runner.control.verbs import HandOver, Verbs
from runner.loop import Loop
from vmspec.host.threads import ThreadError, Worker

MOST = 16  # connections
GAP = 0.002  # seconds between two clients: one that connects without end must not keep the loop busy
LATEST = 1.0  # seconds that a verb may take to return once the run has ended
REST = 1.0  # seconds that clients may take then to read the rest


class Server:
    """Serves clients until :meth:`end`, and closes their connections in :meth:`close`.

    The loop's thread does what is done at once. A thread of the server's does the verbs that wait, one after the other;
    it starts with the first of them.
    """

    def __init__(self, listener: Listener, loop: Loop, greeting: Mapping[str, Any], verbs: Verbs) -> None:
        self._listener, self._loop, self._greeting, self._verbs = listener, loop, greeting, verbs
        self._clients: list[Connection] = []
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._done: deque[tuple[Connection, Message]] = deque()  # answers of the thread
        self._thread: Worker | None = None
        loop.each_wake(self._answer)
        self._listen()

    def end(self) -> bool:
        """Accept no more clients and requests, free the name, and let a verb that is under way return; False if it does
        not. The loop turns no more."""
        self._listener.close()
        for client in self._clients:
            client.open = False
        self._work.put(None)
        returned = self._thread is None or self._thread.wait(LATEST)
        self._answer()
        return returned

    def close(self, event: Message) -> None:
        """Send the clients what is left and a last event, and close their connections."""
        latest = time.monotonic() + REST
        for client in tuple(self._clients):
            client.say(event)
            client.finish(max(0.0, latest - time.monotonic()))

    def _listen(self) -> None:
        self._loop.watch(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        self._loop.unwatch(self._listener.fileno())
        self._loop.after(GAP, self._listen)
        with suppress(OSError):  # the client has gone, or there are too many open files, which may change
            end = self._listener.accept()
            if len(self._clients) == MOST:
                self._make_room()
            client = Connection(end, self._loop, self._asked, self._clients.remove)
            self._clients.append(client)
            client.say(self._greeting)

    def _make_room(self) -> None:
        """Close the connection that has been silent longest; one with a request under way only if all have."""
        min(self._clients, key=lambda client: (client.waits, client.active)).close()

    def _asked(self, client: Connection, request: Request) -> None:
        try:
            verb = self._verbs.find(request)
        except ControlError as error:
            client.answer(refusal(request.id, error))
            return
        if verb.waits:
            self._later(client, request)
        else:
            client.answer(*self._perform(request))

    def _perform(self, request: Request) -> tuple[Message, Taker | None]:
        """Do a request; returns the answer, and what takes the connection then, if anything does."""
        try:
            result = self._verbs.perform(request)
        except ControlError as error:
            return refusal(request.id, error), None
        if isinstance(result, HandOver):
            return answer(request.id, result.result), result.taker
        return answer(request.id, result), None

    def _later(self, client: Connection, request: Request) -> None:
        def work() -> None:
            message, _ = self._perform(request)  # a verb that waits keeps the connection
            self._done.append((client, message))
            self._loop.wake()

        if self._thread is None:
            thread = Worker("control", self._serve)
            try:
                thread.start()
            except ThreadError as error:
                client.answer(refusal(request.id, ControlError("failed", str(error))))
                return
            self._thread = thread
        self._work.put(work)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def _answer(self) -> None:
        while self._done:
            client, message = self._done.popleft()
            client.answer(message)
