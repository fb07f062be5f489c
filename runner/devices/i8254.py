"""The PC's timer, an Intel 8254, and port 0x61, for a machine without KVM's (vmspec.registers.i8254).

Counters are computed from the machine's clock when they are read. Counter 0 requests a tick at the next rising edge of
its output. If several edges have passed since the last look, they are one interrupt.

As in KVM's timer, a count takes effect at once, also in the modes that would end their period first, and setting a mode
raises no interrupt. Port 0x61 has no speaker and no parity errors.
"""

from types import MappingProxyType
from typing import Any

from runner.devices.i8254counter import Counter, CounterState
from runner.devices.isa import ISADevice
from runner.devices.state import State, bits, part
from vmspec.registers import i8254 as R

SECOND = 1_000_000_000  # in ns


class I8254State(State):
    """The counters, and port 0x61."""

    counter0: CounterState = part(CounterState)
    counter1: CounterState = part(CounterState)
    counter2: CounterState = part(CounterState)
    speaker: int = bits(R.WRITABLE)


class I8254(ISADevice):
    """The timer; ``irq`` is counter 0's output, IRQ 0."""

    registers = tuple(range(5))
    regions = MappingProxyType({"counters": 0, "speaker": R.SPEAKER})
    state_class = I8254State

    def clear(self) -> None:
        self._counters = [Counter(), Counter(), Counter(gate=False)]
        self._speaker = 0
        self._due: int | None = None  # the cycle of the requested tick

    def save(self) -> State:
        zero, one, two = (counter.save(self._cycles()) for counter in self._counters)
        return I8254State(counter0=zero, counter1=one, counter2=two, speaker=self._speaker)

    def load(self, state: State) -> None:
        saved: Any = state if type(state) is I8254State else I8254State.again(state)
        for counter, part_of in zip(self._counters, (saved.counter0, saved.counter1, saved.counter2), strict=True):
            counter.load(part_of, self._cycles())
        self._speaker = saved.speaker
        self._due = None
        self.after(None)
        self.changed()

    def _cycles(self) -> int:
        """Cycles of the input since the clock's time 0."""
        return self.clock.monotonic() * R.HZ // SECOND

    # Registers

    def peek(self, offset: int) -> int | None:
        return 0xFF if offset == R.CONTROL else None

    def fetch(self, offset: int) -> int:
        if offset != R.SPEAKER:
            return self._counters[offset].read(self._cycles())
        refresh = R.REFRESH if self.clock.monotonic() // R.REFRESH_PERIOD & 1 else 0
        return self._speaker | refresh | (R.OUT2 if self._counters[2].output(self._cycles()) else 0)

    def store(self, offset: int, value: int) -> None:
        self._catch_up()
        now = self._cycles()
        match offset:
            case R.SPEAKER:
                self._speaker = value & R.WRITABLE
                self._counters[2].set_gate(bool(value & R.GATE2), now)
            case R.CONTROL if value >> R.COUNTER == R.READ_BACK:
                for number, counter in enumerate(self._counters):
                    if value >> number & 2:
                        counter.read_back(value, now)
            case R.CONTROL:
                self._counters[value >> R.COUNTER].control(value, now)
            case _:
                self._counters[offset].write(value, now)

    # Interrupts

    def tick(self) -> None:
        self._catch_up()
        self.changed()

    def _catch_up(self) -> None:
        """Interrupt, if counter 0's output has risen."""
        if self._due is not None and self._due <= self._cycles():
            self._due = None
            self.irq.pulse()

    def drive(self) -> None:
        now = self._cycles()
        if self._due is not None and self._due <= now:
            return  # the requested tick comes
        due = self._counters[0].next_rise(now)
        if due != self._due:
            self._due = due
            # in the first nanosecond of that cycle
            self.after(None if due is None else -(-due * SECOND // R.HZ) - self.clock.monotonic())
