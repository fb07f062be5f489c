"""Consoles that clients attach to a port of a running machine: what it prints goes to all of them, and one may type."""

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Protocol

from runner.backends.input import Guest, Input
from runner.control.errors import ControlError
from runner.devices.device import Device
from runner.machine.machine import Machine
from vmspec.plan.plan import HostEnd, PlannedDevice

BEHIND = 1 << 20  # bytes that may wait for a client; what comes then, it does not get
PIECE = 1 << 16  # bytes that are sent at once
MOST = 16  # consoles
LATEST = 1.0  # seconds that clients may take to read the rest once the run has ended
LEFT_OUT = "\r\n[vmrun: {} bytes were left out]\r\n"


class Tap(Protocol):
    """What a port prints (:class:`runner.session.taps.Tap`)."""

    def attach(self, reader: Callable[[bytes], None]) -> None:
        """Call it with the newest text, and with all that is printed."""

    def detach(self, reader: Callable[[bytes], None]) -> None:
        """Call it no more."""


class Place(NamedTuple):
    """A port: the index of its device, and its own in the device."""

    device: int
    port: int


class Consoles:
    """The consoles of one run. All in the loop's thread. ``tap`` returns what a port prints; ``is_read`` whether the
    run itself reads input for a port."""

    def __init__(self, machine: Machine, tap: Callable[[Place], Tap], is_read: Callable[[Place], bool]) -> None:
        self._machine, self._tap, self._is_read = machine, tap, is_read
        self._ports = {
            name_of(planned, end): Place(index, port)
            for index, planned in enumerate(machine.plan.devices)
            for port, end in enumerate(planned.ends)
        }
        self._attached: list[Attached] = []

    def choose(self, name: str, types: bool) -> tuple[dict[str, str], Callable[[socket.socket], None]]:
        """The port of that name, by default the first, for a client that types if it may. Returns the port's name and
        why the client only reads, or "", and what attaches the client's connection. Raises ControlError."""
        if not self._ports:
            raise ControlError("state", "the machine has no console: its spec has no device with one")
        name = name or next(iter(self._ports))
        if (place := self._ports.get(name)) is None:
            raise ControlError("argument", f"there is no console {name!r}: there are {', '.join(self._ports)}")
        if len(self._attached) >= MOST:
            raise ControlError("state", f"{MOST} consoles are attached already")
        why = self._not_typing(place) if types else "it was not asked for"
        return {"port": name, "reads_only": why}, partial(self._attach, place, not why)

    def _not_typing(self, place: Place) -> str:
        plan = self._machine.plan
        end = self._machine.buses.devices[place.device].ends()[place.port]
        if isinstance(end, Device) and type(end.model()).receive is Device.receive:
            return "it takes no input"
        if self._is_read(place):
            return f"its input comes from {plan.devices[place.device].ends[place.port].input}"
        if any(each.place == place and each.types for each in self._attached):
            return "another console types"
        if self._machine.time is not None and not plan.trace.inputs:
            return "a machine with virtual time takes input only if it is recorded: give trace.inputs = true"
        return ""

    def _attach(self, place: Place, types: bool, end: socket.socket) -> None:
        types = types and not self._not_typing(place)  # another one may have come in between
        try:
            attached = Attached(end, place, self._tap(place), self._machine, types, self._attached.remove)
        except OSError:  # there are too many open files
            end.close()
        else:
            self._attached.append(attached)

    def end(self) -> None:
        """Send the rest, and close the connections. The loop turns no more, and the device thread has ended."""
        latest = time.monotonic() + LATEST
        for each in tuple(self._attached):
            each.close(max(0.0, latest - time.monotonic()))


def name_of(planned: PlannedDevice, end: HostEnd) -> str:
    """A port's name: its device's, and for one of several its own too."""
    return f"{planned.name}.{end.name}" if end.name else planned.name


class Attached:
    """One client. ``closed`` is called once it has left."""

    def __init__(
        self,
        end: socket.socket,
        place: Place,
        tap: Tap,
        machine: Machine,
        types: bool,
        closed: Callable[["Attached"], None],
    ) -> None:
        """Raises OSError."""
        self._sink = os.dup(end.fileno())  # the loop waits for a descriptor in one way only
        self.place, self.types = place, types
        self._end, self._tap, self._loop, self._closed = end, tap, machine.loop, closed
        end.setblocking(False)
        self._lock = threading.Lock()
        self._output = bytearray()
        self._left_out = 0  # bytes
        self._waits = False  # for the client to read
        self._guest = machine.buses.guest(*place) if types else None
        self._input: Input | None = None
        self._loop.each_wake(self._send)
        if self._guest is not None:
            typed = Typed(self._guest, self.close)
            self._input = Input(end.fileno(), None, typed, lambda command: None, self._loop, ahead=True)
            self._input.start()
        else:
            self._loop.watch(end.fileno(), self._hear)
        tap.attach(self._take)

    def _take(self, data: bytes) -> None:
        """Called in the thread that prints."""
        with self._lock:
            if self._left_out or len(self._output) + len(data) > BEHIND:
                self._left_out += len(data)
            else:
                self._output += data
        self._loop.wake()

    def _send(self) -> None:
        if self._sink < 0 or self._waits:
            return
        try:
            while data := self._piece():
                sent = self._end.send(data)
                with self._lock:
                    del self._output[:sent]
        except BlockingIOError:
            self._waits = True
            self._loop.watch(self._sink, self._writable, write=True)
        except OSError:
            self.close()

    def _piece(self) -> bytes:
        with self._lock:
            if self._left_out and not self._output:
                self._output += LEFT_OUT.format(f"{self._left_out:,}").encode()
                self._left_out = 0
            return bytes(self._output[:PIECE])

    def _writable(self) -> None:
        self._loop.unwatch(self._sink)
        self._waits = False
        self._send()

    def _hear(self) -> None:
        """What one who may not type sends is dropped."""
        try:
            if self._end.recv(PIECE):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.close()

    def close(self, patience: float = 0.0) -> None:
        """Close the connection; for so many seconds try to send the rest. A second call does nothing."""
        if self._sink < 0:
            return
        sink, self._sink = self._sink, -1
        self._tap.detach(self._take)
        self._loop.forget(self._send)
        self._loop.unwatch(sink)
        self._loop.unwatch(self._end.fileno())
        if self._input is not None and self._guest is not None:
            more = self._input.open
            self._input.stop()
            if more:
                self._guest.end()
        with suppress(OSError):
            self._end.settimeout(patience)
            while data := self._piece():
                del self._output[: self._end.send(data)]
        os.close(sink)
        self._end.close()
        self._closed(self)


class Typed:
    """A port as the input of a client sees it (:class:`runner.backends.input.Guest`). ``left`` is called when the
    client has gone."""

    def __init__(self, guest: Guest, left: Callable[[], None]) -> None:
        self.call, self.room, self.receive = guest.call, guest.room, guest.receive
        self._guest, self._left = guest, left

    def end(self) -> None:
        """There is no more input."""
        self._guest.end()
        self._left()
