"""The control that a run offers: its name and its server, from before the guest runs until the run has its result."""

import os
from typing import TYPE_CHECKING, Any

from runner.control.errors import ControlError
from runner.control.subject import Subject
from runner.kvm.errors import HostError
from runner.machine.result import Result
from vmspec import __version__
from vmspec.host.printable import printable

if TYPE_CHECKING:
    from runner.backends.unixsocket import Listener
    from runner.control.server import Server

AGAIN = 0.05  # seconds until the next attempt, if another process held the folder


class Offer:
    """Control of one run, under a name that was asked for, or else under the machine's own or one like it."""

    def __init__(self, asked: str | None, subject: Subject) -> None:
        """``subject`` gets the name. Raises HostError if the name that was asked for cannot be had."""
        self._subject = subject
        self._machine = subject.machine
        self._server: Server | None = None
        self._name = asked
        self._listener: Listener | None = None
        self._returned = True
        if asked is not None:
            self._claim(asked)

    def _claim(self, name: str) -> None:
        from runner.control.names import Names

        try:
            names = Names()
            try:
                self._listener = names.claim(name)
            finally:
                names.close()
        except ControlError as error:
            raise HostError(str(error)) from error
        except Exception as error:
            raise HostError(f"the machine cannot be controlled by the name {name!r}: {error}") from error

    def begin(self) -> None:
        """The guest runs, and the loop turns."""
        if self._listener is not None:
            self._serve()
        else:
            self._claim_late()

    def _claim_late(self) -> None:
        """Take a name. Nobody has asked for control, so a run without a socket is as good."""
        from runner.control.names import Names, fitting

        try:
            names = Names()
            try:
                self._name, self._listener = names.claim_like(fitting(self._machine.plan.vm.name), wait=0)
            finally:
                names.close()
        except BlockingIOError:
            self._machine.loop.after(AGAIN, self._claim_late)
        except Exception:
            return
        else:
            self._serve()

    def _serve(self) -> None:
        from runner.control.protocol import VERSION
        from runner.control.server import Server
        from runner.control.verbs import VERBS, Verbs

        assert self._listener is not None
        assert self._name is not None
        greeting: dict[str, Any] = {
            "protocol": VERSION,
            "vmrun": __version__,
            "name": self._name,
            "pid": os.getpid(),
            "verbs": list(VERBS),
        }
        verbs = Verbs(self._subject._replace(name=self._name))
        self._server = Server(self._listener, self._machine.loop, greeting, verbs)

    def end(self) -> None:
        """The guest has ended: the name is free, and no client reaches the machine any more."""
        if self._server is not None:
            self._returned = self._server.end()
        elif self._listener is not None:
            self._listener.close()

    @property
    def stuck(self) -> bool:
        """Whether a client's request still uses the machine."""
        return not self._returned

    def close(self, result: Result | None = None) -> None:
        """Tell the clients how the run ended, and close their connections. A second call does nothing."""
        self.end()
        if self._server is not None:
            self._server.close(_ended(result))


def _ended(result: Result | None) -> dict[str, Any]:
    if result is None:
        return {"event": "ended", "kind": "failed", "status": None, "detail": ""}
    return {"event": "ended", "kind": result.kind, "status": result.status, "detail": printable(result.detail)}
