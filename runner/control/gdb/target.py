"""A machine as gdb's target: its vCPUs as threads, its memory by linear address, and what stops it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from runner.control.gdb.breakpoints import Breakpoints, Kind, Request
from runner.control.gdb.layout import Register

SIGINT, SIGTRAP = 2, 5  # by gdb's numbers


class Stop(NamedTuple):
    """Why a vCPU stopped: a signal, and the breakpoint or watchpoint that was met, if there was one."""

    vcpu: int
    signal: int = SIGTRAP
    met: Request | None = None
    history: str = ""  # "begin" or "end": the recording has no more in this direction

    @property
    def watched(self) -> bool:
        """Whether it was a watchpoint: the instruction is complete, and would not stop again."""
        return self.met is not None and self.met.kind not in (Kind.SOFTWARE, Kind.HARDWARE)


class Target(Protocol):
    """What the commands need. The machine stands still. Numbers are those of vCPUs."""

    registers: Sequence[Register]  # all of them, in the client's order
    wide: bool  # they are those of 64-bit code
    reversible: bool  # it can go back
    breakpoints: Breakpoints

    @property
    def vcpus(self) -> int:
        """How many there are."""

    def get(self, vcpu: int, registers: Sequence[Register]) -> list[int | None]:
        """Values of registers; None: it has none. Raises KvmError."""

    def set(self, vcpu: int, values: Mapping[Register, int]) -> None:
        """Change registers. Raises KvmError."""

    def read(self, vcpu: int, address: int, size: int) -> bytes:
        """Memory by linear address; what follows the first byte that is not mapped is missing. Raises KvmError."""

    def write(self, vcpu: int, address: int, data: bytes) -> bool:
        """Write memory; False, and nothing is written, if part of it is not memory that can be written. Raises
        KvmError."""

    def code(self, vcpu: int, address: int) -> int | None:
        """The guest-physical address of a byte that can be written, by its linear one. Raises KvmError."""

    def describe(self, vcpu: int) -> str:
        """What a vCPU does now, for people."""

    def monitor(self, words: str) -> str:
        """Do a command of the user's, and return what to print."""
