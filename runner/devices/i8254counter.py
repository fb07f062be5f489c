"""One counter of an Intel 8254 (data sheet, "Mode Definitions"). Times are cycles of its input."""

from runner.devices.state import State, flag, number, number_or_none
from vmspec.registers import i8254 as R

ONCE, ONE_SHOT, RATE, SQUARE, STROBE, TRIGGERED = range(6)  # the modes
PERIODIC = (RATE, SQUARE)
BY_TRIGGER = (ONE_SHOT, TRIGGERED)  # counting begins when the gate rises
AGES = 1 << 64  # cycles: half a million years


class CounterState(State):
    """Registers, and how far the counter has come."""

    mode: int = number(0, 5)
    bcd: bool = flag()
    access: int = number(R.LOW, R.BOTH)
    count: int | None = number_or_none(1, 0x10000)
    elapsed: int | None = number_or_none(0, AGES)
    gate: bool = flag()
    low: int | None = number_or_none(0, 0xFF)
    high_next: bool = flag()
    latched: int | None = number_or_none(0, 0xFFFF)
    status: int | None = number_or_none(0, 0xFF)


class Counter:
    """A counter. Methods take the current cycle, ``now``."""

    def __init__(self, *, gate: bool = True) -> None:
        self._mode, self._bcd, self._access = ONCE, False, R.BOTH
        # What was loaded; None: nothing was since the mode was set. A PC's firmware has loaded all counters, and Linux
        # waits until counter 0 says so (arch/x86/lib/kaslr.c).
        self._count: int | None = 0x10000
        self._elapsed: int | None = None  # cycles that were counted until _since; None: it does not count
        self._since = 0
        self._gate = gate
        self._low: int | None = None  # the first byte of a count of two
        self._high_next = False  # a read of two bytes returns the high one next
        self._latched: int | None = None  # the count that reads return, then the counter's again
        self._status: int | None = None  # the same, read before a count

    def save(self, now: int) -> CounterState:
        """The state."""
        values = {name: getattr(self, f"_{name}") for name in CounterState.rules() if name != "elapsed"}
        counted = self._counted(now)
        return CounterState(elapsed=None if counted is None else min(counted, AGES), **values)

    def load(self, state: CounterState, now: int) -> None:
        """Continue from a state."""
        for name in CounterState.rules():
            setattr(self, f"_{name}", getattr(state, name))
        self._since = now

    # What it does

    @property
    def _period(self) -> int:
        count = self._count or 0x10000
        return max(count, 2) if self._mode in PERIODIC else count

    @property
    def _held(self) -> bool:
        """Whether the gate stops the counter."""
        return not self._gate and self._mode not in BY_TRIGGER

    def _counted(self, now: int) -> int | None:
        if self._elapsed is None or self._held:
            return self._elapsed
        return self._elapsed + now - self._since

    def _begin(self, now: int) -> None:
        self._elapsed, self._since = 0, now

    def set_gate(self, level: bool, now: int) -> None:
        """Drive the gate."""
        if level == self._gate:
            return
        self._elapsed, self._since = self._counted(now), now
        self._gate = level
        begins = self._mode in BY_TRIGGER or (self._mode in PERIODIC and self._elapsed is not None)
        if level and begins and self._count is not None:
            self._begin(now)

    def output(self, now: int) -> bool:
        """The level of the output."""
        counted, period = self._counted(now), self._period
        if counted is None:
            return self._mode != ONCE
        match self._mode:
            case 0 | 1:
                return counted >= period
            case 2:
                return self._held or counted % period != period - 1
            case 3:
                return self._held or counted % period < (period + 1) // 2
            case _:
                return counted != period

    def next_rise(self, now: int) -> int | None:
        """The first cycle after ``now`` in which the output rises by itself; None: it does not."""
        counted, period = self._counted(now), self._period
        if counted is None or self._held:
            return None
        if self._mode in PERIODIC:
            return now + period - counted % period
        last = period + 1 if self._mode in (STROBE, TRIGGERED) else period
        return now + last - counted if counted < last else None

    def _value(self, now: int) -> int:
        """The counting element, as reads return it."""
        counted, period = self._counted(now) or 0, self._period
        match self._mode:
            case 2:
                value = period - counted % period
            case 3:
                value = period - 2 * counted % period
            case _:
                value = period - counted
        if not self._bcd:
            return value & 0xFFFF
        return sum(value // 10**digit % 10 << 4 * digit for digit in range(4))

    # Registers

    def control(self, word: int, now: int) -> None:
        """A control word for this counter: the latch command, or a mode."""
        if not (access := word >> R.ACCESS & 3):
            self._latch(now)
            return
        mode = word >> R.MODE & 7
        self._mode = mode if mode <= TRIGGERED else mode - 4  # bit 2 of modes 2 and 3 does not count
        self._access, self._bcd = access, bool(word & R.BCD)
        self._count = self._elapsed = self._low = self._latched = self._status = None
        self._high_next = False

    def read_back(self, word: int, now: int) -> None:
        """The read-back command, for this counter."""
        if not word & R.NO_COUNT:
            self._latch(now)
        if not word & R.NO_STATUS and self._status is None:
            out = R.OUT if self.output(now) else 0
            null = R.NULL_COUNT if self._count is None else 0
            self._status = out | null | self._access << R.ACCESS | self._mode << R.MODE | (R.BCD if self._bcd else 0)

    def _latch(self, now: int) -> None:
        if self._latched is None:
            self._latched = self._value(now)

    def read(self, now: int) -> int:
        """A read of the counter's port."""
        if self._status is not None:
            status, self._status = self._status, None
            return status
        value = self._value(now) if self._latched is None else self._latched
        high = self._high_next if self._access == R.BOTH else self._access == R.HIGH
        if self._access == R.BOTH:
            self._high_next = not self._high_next
        if not self._high_next:
            self._latched = None
        return value >> 8 if high else value & 0xFF

    def write(self, value: int, now: int) -> None:
        """A write of the counter's port."""
        match self._access:
            case R.LOW:
                self._load(value, now)
            case R.HIGH:
                self._load(value << 8, now)
            case _ if self._low is None:
                self._low = value
            case _:
                low, self._low = self._low, None
                self._load(value << 8 | low, now)

    def _load(self, value: int, now: int) -> None:
        if self._bcd:
            self._count = sum((value >> 4 * digit & 15) * 10**digit for digit in range(4)) or 10000
        else:
            self._count = value or 0x10000
        if self._mode not in BY_TRIGGER:
            self._begin(now)
