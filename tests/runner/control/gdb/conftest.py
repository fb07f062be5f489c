"""A target without a machine."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from runner.control.gdb.breakpoints import Breakpoints
from runner.control.gdb.layout import Register, registers

START, SIZE = 0x1000, 0x1000


class FakeTarget:
    """vCPUs whose registers hold what was set, and memory from 0x1000 to 0x2000, of which the last 256 bytes cannot be
    written."""

    def __init__(self, vcpus: int = 2, wide: bool = True) -> None:
        self.wide = wide
        self.reversible = False
        self.registers = registers(wide)
        self.breakpoints = Breakpoints()
        self.vcpus = vcpus
        self.values: list[dict[str, int]] = [{} for _ in range(vcpus)]
        self.memory = bytearray(range(256)) * (SIZE // 256)
        self.commands: list[str] = []

    def get(self, vcpu: int, registers: Sequence[Register]) -> list[int | None]:
        return [None if each.place is None else self.values[vcpu].get(each.name, 0) for each in registers]

    def set(self, vcpu: int, values: Mapping[Register, int]) -> None:
        self.values[vcpu] |= {register.name: value for register, value in values.items()}

    def read(self, vcpu: int, address: int, size: int) -> bytes:
        return bytes(self.memory[address - START :][:size]) if START <= address < START + SIZE else b""

    def write(self, vcpu: int, address: int, data: bytes) -> bool:
        if not START <= address <= START + SIZE - 256 - len(data):
            return False
        self.memory[address - START : address - START + len(data)] = data
        return True

    def code(self, vcpu: int, address: int) -> int | None:
        return address if START <= address < START + SIZE - 256 else None

    def describe(self, vcpu: int) -> str:
        return f"vCPU {vcpu}"

    def monitor(self, words: str) -> str:
        self.commands.append(words)
        return "" if words == "silent" else words * 3


@pytest.fixture(scope="session")
def make_target() -> Callable[..., Any]:
    """Makes a :class:`FakeTarget`."""
    return FakeTarget
