"""What clients of a run can use: its control under a name, the consoles of its ports, a debugger."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from runner.machine.machine import Machine
from runner.machine.result import Result
from runner.recording.rings import Rings
from runner.session.ends import Ends
from vmspec.host.threads import ThreadError

if TYPE_CHECKING:
    from runner.control.consoles import Consoles
    from runner.control.gdb.debugger import Debugger
    from runner.control.offer import Offer
    from runner.control.subject import Subject
    from vmspec.image.symbols import Symbols

OFFERED = 0.1  # seconds after which a machine gets a name that was given none: a run that ends sooner pays nothing


class Clients:
    """Those of one run; ``name`` is the machine's in its spec. Modules are imported when a client needs them: no short
    run does, and none of a suite or a campaign."""

    def __init__(self, name: str, machine: Machine, rings: Rings, ends: Ends, notice: Callable[[str], None]) -> None:
        self._name, self._machine, self._rings, self._ends, self._notice = name, machine, rings, ends, notice
        self._symbols: list[Symbols] | None = None  # of the guest, once a client asks
        self._offer: Offer | None = None  # of control
        self._debugger: Debugger | None = None
        self.consoles: Consoles | None = None

    @property
    def stuck(self) -> bool:
        """Whether a client's request still uses the machine."""
        stuck = self._offer is not None and self._offer.stuck
        return stuck or (self._debugger is not None and self._debugger.stuck)

    # The start

    def claim(self, name: str) -> None:
        """Offer control by a name that was asked for. Raises HostError if it cannot be had."""
        self._offer = self._offered(name)

    def wait_for_gdb(self, where: str | tuple[int, int]) -> None:
        """Have the guest wait for gdb at an address, or with these descriptors. Raises ValueError, HostError."""
        from runner.control.gdb.waiting import waiting

        self._debugger = waiting(self._subject(), where, self._notice)
        self._machine.held = True

    def begin(self, late: bool) -> None:
        """The guest runs. ``late``: offer control by the machine's own name soon, if no name was asked for."""
        if self._offer is not None:
            self._offer.begin()
        elif late:
            self._machine.loop.after(OFFERED, self._offer_late)
        if self._debugger is not None:
            self._debugger.begin()

    # What they ask for

    def symbol(self, address: int) -> str | None:
        """The name of the guest's code at an address; the first call reads the symbols."""
        from runner.session.symbols import name_of, tables

        if self._symbols is None:
            self._symbols = list(tables(self._machine.loader.symbols()))
        return name_of(self._symbols, address)

    def _offer_late(self) -> None:
        self._offer = self._offered(None)
        self._offer.begin()

    def _offered(self, name: str | None) -> "Offer":
        from runner.control.consoles import Consoles
        from runner.control.offer import Offer

        self.consoles = Consoles(self._machine, self._ends.taps.__getitem__, self._ends.is_read)
        return Offer(name, self._subject()._replace(consoles=self.consoles))

    def _subject(self) -> "Subject":
        from runner.control.subject import Subject

        return Subject(self._name, self._machine, self._rings, self.symbol, self._debug, self._is_debugged)

    def _debug(self, end: socket.socket) -> None:
        """Let the client of a connection debug the guest."""
        if self._debugger is None:
            from runner.control.gdb.waiting import attachable

            debugger = attachable(self._subject(), self._notice)
            try:
                debugger.begin()
            except ThreadError as error:
                end.close()
                debugger.close()
                self._notice(f"no debugger can be attached: {error.strerror}")
                return
            self._debugger = debugger
        self._debugger.bring(end)

    def _is_debugged(self) -> bool:
        return self._debugger is not None and self._debugger.busy

    # The end

    def end(self) -> None:
        """The guest runs no more."""
        for each in (self._debugger, self._offer, self.consoles):
            if each is not None:
                each.end()

    def close(self, result: Result | None = None) -> None:
        """End what is left; clients get the result."""
        for each in (self._debugger, self._offer):
            if each is not None:
                each.close(result)
