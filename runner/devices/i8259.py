"""The PC's two interrupt controllers, Intel 8259As in cascade, for a machine without KVM's (vmspec.registers.i8259).

An edge stays latched if its line falls before the processor has taken it, as in KVM's controllers. The cascade follows
the slave's output, so the slave has no spurious interrupts.

Not implemented: the level bit of ICW1 (the edge/level registers decide), ICW3 (the cascade is wired), buffered mode,
and the vectors of an 8080.
"""

from types import MappingProxyType
from typing import Any

from runner.devices.i8259chip import Chip, ChipState
from runner.devices.isa import ISADevice
from runner.devices.services import Services
from runner.devices.state import State, part
from vmspec.registers import i8259 as R


class I8259State(State):
    """Both chips."""

    master: ChipState = part(ChipState)
    slave: ChipState = part(ChipState)


class I8259(ISADevice):
    """The pair. The machine drives its inputs by :meth:`set_line`. While the output is high, it takes interrupts by
    :meth:`acknowledge`."""

    registers = tuple(range(6))
    regions = MappingProxyType({"master": 0, "slave": 2, "edge-level": 4})
    state_class = I8259State

    def __init__(self) -> None:
        self._output = False

    def attach(self, services: Services) -> None:
        self._intr = services.intr
        super().attach(services)

    def clear(self) -> None:
        self._master, self._slave = (Chip(edges) for edges in R.ALWAYS_EDGES)

    def save(self) -> State:
        return I8259State(master=self._master.save(), slave=self._slave.save())

    def load(self, state: State) -> None:
        saved: Any = state if type(state) is I8259State else I8259State.again(state)
        self._master.load(saved.master)
        self._slave.load(saved.slave)
        self.changed()

    # The machine's side

    def set_line(self, irq: int, level: bool) -> None:
        """Drive input ``irq`` of 0 to 15."""
        (self._slave if irq & 8 else self._master).set_line(irq & 7, level)
        self.changed()

    def acknowledge(self) -> int:
        """The processor takes an interrupt: return its vector. If none waits any more, it is the master's input 7."""
        line = self._master.acknowledge()
        chip = self._master
        if line == R.CASCADE:
            chip, line = self._slave, self._slave.acknowledge()
        self.changed()
        return chip.base | line

    # Registers

    def _chip(self, register: int) -> Chip:
        slave = register in (R.SLAVE_COMMAND, R.SLAVE_MASK, R.SLAVE_EDGE_LEVEL)
        return self._slave if slave else self._master

    def peek(self, offset: int) -> int | None:
        chip = self._chip(offset)
        match offset:
            case R.MASTER_EDGE_LEVEL | R.SLAVE_EDGE_LEVEL:
                return chip.levels
            case _ if chip.polled:
                return None
            case R.MASTER_MASK | R.SLAVE_MASK:
                return chip.masked
            case _:
                return chip.served if chip.shows_served else chip.waiting

    def fetch(self, offset: int) -> int:
        return self._chip(offset).poll()

    def store(self, offset: int, value: int) -> None:
        chip = self._chip(offset)
        match offset:
            case R.MASTER_EDGE_LEVEL | R.SLAVE_EDGE_LEVEL:
                chip.set_levels(value)
            case R.MASTER_MASK | R.SLAVE_MASK:
                chip.write_mask(value)
            case _:
                chip.write_command(value)

    def settle(self) -> None:
        self._master.set_cascade(self._slave.request() is not None)

    def drive(self) -> None:
        output = self._master.request() is not None
        if output != self._output:
            self._output = output
            self._intr(output)
