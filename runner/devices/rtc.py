"""The PC's clock and its CMOS memory: Motorola MC146818A (data sheet, "Registers"), with 128 bytes and a century byte.

The clock follows the machine's and needs no thread: registers are computed when they are read. An enabled interrupt
requests a tick at the time of the next event.

Not implemented: daylight saving, the square wave, time bases other than 32.768 kHz, and stopping the divider (register
A's DV bits are stored and have no effect; a time that is set starts at the full second).
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from runner.devices.device import Board
from runner.devices.isa import ISADevice
from runner.devices.state import State, StateError, bits, flag, number, number_or_none, octets
from vmspec import layout
from vmspec.plan.calls import Slot
from vmspec.registers import rtc as R

CLOCK = (R.SECONDS, R.MINUTES, R.HOURS)
TIME = (*CLOCK, R.WEEKDAY, R.DAY, R.MONTH, R.YEAR, R.CENTURY)

SECOND = 1_000_000_000  # in ns
DAY_SECONDS = 86400
# UIP rises 244 us before an update, which takes 1984 us with a 32.768 kHz time base (data sheet, table 6). The new time
# is there when it falls, so a guest that sees UIP clear has 2.2 ms to read a consistent time.
UPDATE = 2_228_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST = -62135596800  # the start of year 1 and the end of year 9999, in seconds: the registers stop there
LAST = 253402300799
AGES = (LAST - FIRST) * SECOND  # ns; the largest distance between two dates


class RTCState(State):
    """Registers, and the time."""

    index: int = bits(R.ADDRESS)
    memory: bytes = octets(128, 128)
    follows: bool = flag()
    time: int = number(-AGES, AGES)  # ns since 1970, or the difference from the machine's date
    behind: int = number(-AGES, AGES)  # ns for which the flags have not been updated
    standing: int | None = number_or_none(-AGES // SECOND // DAY_SECONDS, AGES // SECOND // DAY_SECONDS)
    weekday: int = number(0, 6)
    weekday_written: bool = flag()
    flags: int = bits(R.PF | R.AF | R.UF)


class RTC(ISADevice):
    """The clock, in UTC; ``irq`` is IRQ 8.

    ``start`` is the time at the machine's start, from which the clock runs steadily. None: the clock follows the
    machine's date. ``slots`` is RAM, whose sizes the CMOS memory has.

    The chip advances its date registers at midnight and checks nothing: values that are written stay until then. So a
    guest that sets them one at a time may pass through dates that do not exist.
    """

    registers = (R.INDEX, R.DATA)

    state_class = RTCState

    def __init__(self, start: datetime | None = None, slots: tuple[Slot, ...] = ()) -> None:
        self._start = start
        self._follows = start is None
        self._slots = slots
        self._line = False

    def clear(self) -> None:
        self._offset = 0  # the guest's time minus the machine's, in ns since the epoch
        self._index = 0
        self._memory = bytearray(128)
        self._memory[R.A] = 0x26  # 32.768 kHz, periodic rate 1024 Hz: as PC firmware sets it
        self._memory[R.B] = R.HOUR_24
        self._memory[R.D] = R.VRT
        self._remember(memory_sizes(self._slots))
        self._standing: int | None = None  # the day, since the epoch, on which the date registers show what was written
        self._weekday = 0  # days by which the guest's weekdays are ahead of the calendar's
        self._weekday_written = False  # set: from then on it is a counter of its own, as in the chip
        self._flags = 0  # register C without IRQF
        self._waiting = False  # a tick is requested
        if self._start is not None:
            start = self._start if self._start.tzinfo else self._start.replace(tzinfo=UTC)
            self._offset = (start - EPOCH) // timedelta(microseconds=1) * 1000 - self._passed()
        self._seen = self._now()  # the flags are up to date until this time

    @classmethod
    def make(cls, options: Mapping[str, Any], board: Board) -> "RTC":
        return cls(options["time"], board.slots)

    def _remember(self, sizes: dict[tuple[int, int], int]) -> None:
        for (index, length), size in sizes.items():
            limit = (1 << 8 * length) - 1
            self._memory[index : index + length] = min(size, limit).to_bytes(length, "little")
        self._memory[R.CHECKSUM : R.CHECKSUM + 2] = sum(self._memory[index] for index in R.SUMMED).to_bytes(2, "big")

    def load(self, state: State) -> None:
        if isinstance(state, RTCState) and state.follows != self._follows:
            raise StateError("RTC: the saved clock and this one must both have a start time, or neither")
        super().load(state)

    @property
    def _time(self) -> int:
        return self._offset if self._follows else self._now()

    @_time.setter
    def _time(self, time: int) -> None:
        self._offset = time if self._follows else time - self._passed()

    @property
    def _behind(self) -> int:
        # A longer time would give the same flags.
        return max(-AGES, min(self._now() - self._seen, AGES))

    @_behind.setter
    def _behind(self, behind: int) -> None:
        self._seen = self._now() - behind

    # Registers as the guest sees them

    def peek(self, offset: int) -> int | None:
        if offset == R.INDEX:
            return 0xFF
        if self._index in (R.A, R.C) or (self._index in TIME and not self._setting):
            return None  # moves with time, or is cleared by reading
        return self._memory[self._index]

    def fetch(self, offset: int) -> int:
        match self._index:
            case R.A:
                updating = not self._setting and self._now() % SECOND >= SECOND - UPDATE
                return self._memory[R.A] | (R.UIP if updating else 0)
            case R.C:
                self._catch_up()
                flags, self._flags = self._flags, 0
                return flags | (R.IRQF if flags & self._memory[R.B] else 0)
            case _:
                self._show_time()
                return self._memory[self._index]

    def store(self, offset: int, value: int) -> None:
        if offset == R.INDEX:
            self._index = value & R.ADDRESS
            return
        self._catch_up()
        match self._index:
            case R.A:
                self._memory[R.A] = value & ~R.UIP
            case R.B:
                self._set_control(value)
            case R.C | R.D:
                pass  # read-only
            case index if index in TIME and not self._setting:
                self._show_time()
                self._memory[index] = value
                self._weekday_written |= index == R.WEEKDAY
                self._take_time()
            case index:
                self._memory[index] = value
                self._weekday_written |= index == R.WEEKDAY

    def _set_control(self, value: int) -> None:
        if value & R.SET and not self._setting:
            self._show_time()
            value &= ~R.UIE  # data sheet: setting SET clears it
        ends = self._setting and not value & R.SET
        if (value ^ self._memory[R.B]) & (R.DM | R.HOUR_24):
            self._standing = None  # the registers have values of the other mode
        self._memory[R.B] = value
        if ends:
            self._take_time()

    # Time

    @property
    def _setting(self) -> bool:
        return bool(self._memory[R.B] & R.SET)

    def _passed(self) -> int:
        return self.clock.realtime() if self._follows else self.clock.monotonic()

    def _now(self) -> int:
        return self._passed() + self._offset

    def _moment(self) -> datetime:
        return EPOCH + timedelta(seconds=min(max(self._now() // SECOND, FIRST), LAST))

    def _show_time(self) -> None:
        """Put the current time into the time registers."""
        shown = self._registers()
        if self._standing != self._now() // SECOND // DAY_SECONDS:
            self._standing = None
        for index in TIME if self._standing is None else CLOCK:
            self._memory[index] = shown[index]

    def _registers(self) -> dict[int, int]:
        """The time registers for the current time."""
        now = self._moment()
        century, year = divmod(now.year, 100)
        weekday = (now.isoweekday() + self._weekday) % 7 + 1
        values = (now.second, now.minute, now.hour, weekday, now.day, now.month, year, century)
        return {
            index: self._encode_hour(value) if index == R.HOURS else self._encode(value)
            for index, value in zip(TIME, values, strict=True)
        }

    def _take_time(self) -> None:
        """Set the clock from the time registers.

        A day beyond the end of its month counts into the next month. Instead of an invalid time or date the clock keeps
        its own.
        """
        before = self._moment()
        second, minute = self._decode(self._memory[R.SECONDS]), self._decode(self._memory[R.MINUTES])
        hour = self._decode_hour(self._memory[R.HOURS])
        if not (hour < 24 and minute < 60 and second < 60):
            hour, minute, second = before.hour, before.minute, before.second
        day, month, year, century = (self._decode(self._memory[index]) for index in (R.DAY, R.MONTH, R.YEAR, R.CENTURY))
        try:
            if not 1 <= day <= 31:
                raise ValueError
            moment = datetime(century * 100 + year, month, 1, hour, minute, second, tzinfo=UTC) + timedelta(
                days=day - 1
            )
        except (ValueError, OverflowError):
            moment = before.replace(hour=hour, minute=minute, second=second)
        self._offset = (moment - EPOCH) // timedelta(seconds=1) * SECOND - self._passed()
        self._seen = self._now()
        if self._weekday_written:
            self._weekday = (self._decode(self._memory[R.WEEKDAY]) - 1 - moment.isoweekday()) % 7
        else:
            self._memory[R.WEEKDAY] = self._registers()[R.WEEKDAY]
        self._standing = self._now() // SECOND // DAY_SECONDS

    def _encode(self, value: int) -> int:
        return value if self._memory[R.B] & R.DM else value // 10 << 4 | value % 10

    def _decode(self, value: int) -> int:
        return value if self._memory[R.B] & R.DM else (value >> 4) * 10 + (value & 0x0F)

    def _encode_hour(self, hour: int) -> int:
        if self._memory[R.B] & R.HOUR_24:
            return self._encode(hour)
        return self._encode(hour % 12 or 12) | (R.PM if hour >= 12 else 0)

    def _decode_hour(self, value: int) -> int:
        if self._memory[R.B] & R.HOUR_24:
            return self._decode(value)
        return self._decode(value & ~R.PM) % 12 + (12 if value & R.PM else 0)

    # Events

    def tick(self) -> None:
        self._catch_up()
        self.changed()

    def drive(self) -> None:
        line = bool(self._flags & self._memory[R.B])
        if line != self._line:
            self._line = line
            self.irq.set(line)
        wait = None if line else self._next_event()
        if wait is not None or self._waiting:
            self.after(wait)
            self._waiting = wait is not None

    def _catch_up(self) -> None:
        """Raise the flags of the events since the last call."""
        before, self._seen = self._seen, self._now()
        if self._periods(before) != self._periods(self._seen):
            self._flags |= R.PF
        first, last = before // SECOND + 1, self._seen // SECOND
        if self._setting or last < first:
            return
        self._flags |= R.UF
        if any(self._alarm_at(second) for second in range(max(first, last - DAY_SECONDS + 1), last + 1)):
            self._flags |= R.AF

    def _alarm_at(self, second: int) -> bool:
        clock = second % DAY_SECONDS
        return (
            self._matches(R.SECONDS_ALARM, self._encode(clock % 60))
            and self._matches(R.MINUTES_ALARM, self._encode(clock // 60 % 60))
            and self._matches(R.HOURS_ALARM, self._encode_hour(clock // 3600))
        )

    def _matches(self, index: int, value: int) -> bool:
        alarm = self._memory[index]
        return alarm & R.DONT_CARE == R.DONT_CARE or alarm == value

    def _cycles(self) -> int:
        """The periodic interrupt's period in cycles of 32.768 kHz, 0: none (data sheet, table 5)."""
        rate = self._memory[R.A] & R.RATE
        return 0 if rate == 0 else 1 << (rate + 6 if rate <= 2 else rate - 1)

    def _periods(self, now: int) -> int:
        """The number of periods that have ended by a time."""
        cycles = self._cycles()
        return now * 32768 // (cycles * SECOND) if cycles else 0

    def _next_event(self) -> int | None:
        """ns until an enabled interrupt may come. An armed alarm is checked every second."""
        now = self._now()
        waits = []
        if self._memory[R.B] & R.PIE and (cycles := self._cycles()):
            end = -(-(self._periods(now) + 1) * cycles * SECOND // 32768)  # rounded up, so that the period has ended
            waits.append(end - now)
        if self._memory[R.B] & (R.AIE | R.UIE) and not self._setting:
            waits.append(SECOND - now % SECOND)
        return min(waits, default=None)


def memory_sizes(slots: tuple[Slot, ...]) -> dict[tuple[int, int], int]:
    """The sizes of RAM in the CMOS memory: place and length of each size, and the size in its unit."""
    low = next((slot.size for slot in slots if slot.start == 0), 0)
    extended = max(0, low - layout.HIGH_MEMORY) >> 10
    return {
        (R.BASE_KIB, 2): min(low, layout.BASE_MEMORY_END) >> 10,
        (R.EXTENDED_KIB, 2): extended,
        (R.EXTENDED_KIB_FOUND, 2): extended,
        (R.ABOVE_16MIB, 2): max(0, low - (16 << 20)) >> 16,
        (R.ABOVE_4GIB, 3): sum(slot.size for slot in slots if slot.start >= 1 << 32) >> 16,
    }
