"""Breakpoints and watchpoints, and where they go: the processor's four debug registers, or INT3 in the guest's code.

A breakpoint that the client calls a software one is in a debug register too, while one is free. It then needs no
memory that can be written, and works where KVM cannot execute INT3.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

REGISTERS = 4
INT3 = b"\xcc"
# DR7 (Intel SDM volume 3, 17.2.4): breakpoints are exact (LE, GE); bit 10 is always one.
EXACT = 3 << 8 | 1 << 10
GLOBAL = 2  # Gn; a task switch of the guest leaves it alone
LENGTHS = {1: 0, 2: 1, 4: 3, 8: 2}
EXECUTE, WRITE, ACCESS = 0, 1, 3  # R/Wn


class Kind(IntEnum):
    """What the client asks for, by the number in its packets (Z0 to Z4)."""

    SOFTWARE = 0
    HARDWARE = 1
    WRITE = 2
    READ = 3
    ACCESS = 4


class Request(NamedTuple):
    """A breakpoint of the client's; ``size`` is the bytes that are watched. ``physical`` is where its code is, if it
    can be written."""

    kind: Kind
    address: int
    size: int
    physical: int | None = None


class Point(NamedTuple):
    """What one debug register has."""

    request: Request
    address: int
    size: int


class BreakpointError(Exception):
    """A breakpoint that cannot be set."""


class Breakpoints:
    """The breakpoints of a machine; every vCPU has all of them."""

    def __init__(self, widest: int = 8) -> None:
        """``widest``: bytes that one debug register watches; processors have 8 in long mode only."""
        self._widest = widest
        self._requests: dict[tuple[Kind, int, int], Request] = {}
        self.points: list[Point] = []
        self.patched: list[Request] = []  # breakpoints that are INT3

    @property
    def requests(self) -> Sequence[Request]:
        """All of them."""
        return list(self._requests.values())

    def insert(self, request: Request) -> None:
        """Add a breakpoint; one that is there already is replaced. Raises BreakpointError, and changes nothing then."""
        requests = {**self._requests, request[:3]: request}
        self.points, self.patched = self._arranged(list(requests.values()))
        self._requests = requests

    def remove(self, kind: Kind, address: int, size: int) -> bool:
        """Remove a breakpoint; False if it is not there."""
        if self._requests.pop((kind, address, size), None) is None:
            return False
        self.points, self.patched = self._arranged(list(self._requests.values()))
        return True

    def clear(self) -> None:
        """Remove all."""
        self._requests.clear()
        self.points, self.patched = [], []

    def _arranged(self, requests: Sequence[Request]) -> tuple[list[Point], list[Request]]:
        points = [point for request in requests if request.kind != Kind.SOFTWARE for point in self._points(request)]
        if len(points) > REGISTERS:
            raise BreakpointError(f"a processor has {REGISTERS} debug registers, and {len(points)} would be needed")
        patched = []
        for request in requests:
            if request.kind != Kind.SOFTWARE:
                continue
            if len(points) < REGISTERS:
                points += self._points(request)
            elif request.physical is None:
                message = f"no debug register is left, and {request.address:#x} is not memory that can be written"
                raise BreakpointError(message)
            else:
                patched.append(request)
        return points, patched

    def _points(self, request: Request) -> list[Point]:
        if request.kind in (Kind.SOFTWARE, Kind.HARDWARE):
            return [Point(request, request.address, 1)]
        if not 0 < request.size <= min(REGISTERS * self._widest, (1 << 64) - request.address):
            raise BreakpointError(f"{request.size} bytes are more than debug registers watch")
        found, at, end = [], request.address, request.address + request.size
        while at < end:
            size = next(size for size in (8, 4, 2, 1) if size <= min(self._widest, end - at) and at % size == 0)
            found.append(Point(request, at, size))
            at += size
        return found

    def registers(self) -> tuple[int, ...]:
        """DR0 to DR7; DR7 is 0 if no debug register is used."""
        control = EXACT if self.points else 0
        for index, point in enumerate(self.points):
            control |= GLOBAL << 2 * index
            control |= (_condition(point.request.kind) | LENGTHS[point.size] << 2) << 16 + 4 * index
        addresses = [point.address for point in self.points]
        return (*addresses, *([0] * (REGISTERS - len(addresses))), 0, 0, 0, control)

    def met(self, dr6: int) -> Request | None:
        """The breakpoint whose debug register DR6 names: the first."""
        return next((point.request for index, point in enumerate(self.points) if dr6 >> index & 1), None)

    def at(self, address: int) -> Request | None:
        """The breakpoint that is INT3 at a linear address."""
        return next((request for request in self.patched if request.address == address), None)


def _condition(kind: Kind) -> int:
    match kind:
        case Kind.SOFTWARE | Kind.HARDWARE:
            return EXECUTE
        case Kind.WRITE:
            return WRITE
        case Kind.READ | Kind.ACCESS:  # a processor cannot watch for reads alone
            return ACCESS
