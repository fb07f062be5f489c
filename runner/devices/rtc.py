"""The PC's clock and its CMOS memory: Motorola MC146818 (data sheet, "Registers"), with 128 bytes and a century byte.

The clock runs on whatever time source it is given and needs no thread: registers are worked out when they are read. An
interrupt asks the machine for a tick at the time of the next event, and only while one is enabled.

Left out: daylight saving, the square wave, other time bases than 32.768 kHz, and stopping the divider (register A's
DV bits are kept and have no effect; a time that is set starts at the full second).
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from runner.devices.isa import ISADevice
from vmspec import layout

# Register offsets from port 0x70
INDEX = 0  # write-only; bit 7 is the PC's NMI mask and not part of the index
DATA = 1

# CMOS addresses
SECONDS = 0x00
SECONDS_ALARM = 0x01
MINUTES = 0x02
MINUTES_ALARM = 0x03
HOURS = 0x04
HOURS_ALARM = 0x05
WEEKDAY = 0x06  # Sunday is 1
DAY = 0x07
MONTH = 0x08
YEAR = 0x09  # of the century
A = 0x0A
B = 0x0B
C = 0x0C
D = 0x0D
CENTURY = layout.CMOS_CENTURY
TIME = (SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY)

UIP = 0x80  # A: an update is in progress or near
RATE = 0x0F  # A: the periodic interrupt's rate; 0 is none
# B
SET = 0x80  # the guest is setting the time: no updates
PIE = 0x40  # periodic interrupt
AIE = 0x20  # alarm interrupt
UIE = 0x10  # update-ended interrupt
DM = 0x04  # binary, not BCD
HOUR_24 = 0x02  # else 12 hours, with PM in bit 7 of the hours
PM = 0x80
# C, cleared by reading
IRQF = 0x80  # one of the flags is up, and its interrupt enabled
PF = 0x40
AF = 0x20
UF = 0x10
VRT = 0x80  # D: the battery is good

DONT_CARE = 0xC0  # an alarm byte with these bits matches everything

SECOND = 1_000_000_000  # in ns
DAY_SECONDS = 86400
# UIP goes up 244 us before an update, which takes 1984 us with a 32.768 kHz time base (data sheet, table 5). The new
# time is there when it falls, so who sees it clear has 2.2 ms to read a time in one piece.
UPDATE = 2_228_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST = 253402300799  # the end of the year 9999, in seconds: there the registers stop


class RTC(ISADevice):
    """The clock, in UTC; ``irq`` is IRQ 8.

    ``start`` is the time when the machine starts, None for the host's. ``clock`` gives the time that passes, in ns; the
    default is the host's clock, monotonic where the start is given.
    """

    registers = (INDEX, DATA)

    def __init__(self, start: datetime | None = None, clock: Callable[[], int] | None = None) -> None:
        self._start = start
        self._clock = clock or (time.time_ns if start is None else time.monotonic_ns)
        self._offset = 0  # guest's time in ns since the epoch, less the clock's
        self._index = 0
        self._memory = bytearray(128)
        self._memory[A] = 0x26  # 32.768 kHz, periodic rate 1024 Hz: as PC firmware sets it
        self._memory[B] = HOUR_24
        self._memory[D] = VRT
        self._flags = 0  # register C without IRQF
        self._seen = 0  # up to what time the flags have been worked out
        self._line = False
        self._waiting = False  # a tick has been asked for

    @classmethod
    def make(cls, model: Any, directory: Path) -> "RTC":
        return cls(model.time)

    def start(self) -> None:
        if self._start is not None:
            start = self._start if self._start.tzinfo else self._start.replace(tzinfo=UTC)
            self._offset = (start - EPOCH) // timedelta(microseconds=1) * 1000 - self._clock()
        self._seen = self._now()
        super().start()

    # Registers as the guest sees them

    def peek(self, offset: int) -> int | None:
        if offset == INDEX:
            return 0xFF
        if self._index in (A, C) or (self._index in TIME and not self._setting):
            return None  # moves with time, or is cleared by reading
        return self._memory[self._index]

    def fetch(self, offset: int) -> int:
        match self._index:
            case 0x0A:
                updating = not self._setting and self._now() % SECOND >= SECOND - UPDATE
                return self._memory[A] | (UIP if updating else 0)
            case 0x0C:
                self._catch_up()
                flags, self._flags = self._flags, 0
                return flags | (IRQF if flags & self._memory[B] else 0)
            case _:
                self._show_time()
                return self._memory[self._index]

    def store(self, offset: int, value: int) -> None:
        if offset == INDEX:
            self._index = value & 0x7F
            return
        self._catch_up()
        match self._index:
            case 0x0A:
                self._memory[A] = value & ~UIP
            case 0x0B:
                self._set_control(value)
            case 0x0C | 0x0D:
                pass  # read-only
            case index if index in TIME and not self._setting:
                self._show_time()
                self._memory[index] = value
                self._take_time()
            case index:
                self._memory[index] = value

    def _set_control(self, value: int) -> None:
        if value & SET and not self._setting:
            self._show_time()
            value &= ~UIE  # data sheet: SET going up clears it
        ends = self._setting and not value & SET
        self._memory[B] = value
        if ends:
            self._take_time()

    # Time

    @property
    def _setting(self) -> bool:
        return bool(self._memory[B] & SET)

    def _now(self) -> int:
        return self._clock() + self._offset

    def _show_time(self) -> None:
        """Put the present time into the time registers."""
        now = EPOCH + timedelta(seconds=min(self._now() // SECOND, LAST))
        century, year = divmod(now.year, 100)
        values = (now.second, now.minute, now.hour, now.isoweekday() % 7 + 1, now.day, now.month, year, century)
        for index, value in zip(TIME, values, strict=True):
            self._memory[index] = self._encode_hour(value) if index == HOURS else self._encode(value)

    def _take_time(self) -> None:
        """Go on from what the time registers say. A date that does not exist is not taken: the clock stays right."""
        second, minute, day, month, year, century = (
            self._decode(self._memory[index]) for index in (SECONDS, MINUTES, DAY, MONTH, YEAR, CENTURY)
        )
        hour = self._decode_hour(self._memory[HOURS])
        try:
            moment = datetime(century * 100 + year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError:
            return
        self._offset = (moment - EPOCH) // timedelta(seconds=1) * SECOND - self._clock()
        self._seen = self._now()

    def _encode(self, value: int) -> int:
        return value if self._memory[B] & DM else value // 10 << 4 | value % 10

    def _decode(self, value: int) -> int:
        return value if self._memory[B] & DM else (value >> 4) * 10 + (value & 0x0F)

    def _encode_hour(self, hour: int) -> int:
        if self._memory[B] & HOUR_24:
            return self._encode(hour)
        return self._encode(hour % 12 or 12) | (PM if hour >= 12 else 0)

    def _decode_hour(self, value: int) -> int:
        if self._memory[B] & HOUR_24:
            return self._decode(value)
        return self._decode(value & ~PM) % 12 + (12 if value & PM else 0)

    # Events

    def tick(self) -> None:
        self._catch_up()
        self.changed()

    def drive(self) -> None:
        line = bool(self._flags & self._memory[B])
        if line != self._line:
            self._line = line
            self.irq.set(line)
        wait = None if line else self._next_event()
        if wait is not None or self._waiting:
            self.after(wait)
            self._waiting = wait is not None

    def _catch_up(self) -> None:
        """Raise the flags of what has happened since the last time."""
        before, self._seen = self._seen, self._now()
        if self._periods(before) != self._periods(self._seen):
            self._flags |= PF
        first, last = before // SECOND + 1, self._seen // SECOND
        if self._setting or last < first:
            return
        self._flags |= UF
        if any(self._alarm_at(second) for second in range(max(first, last - DAY_SECONDS + 1), last + 1)):
            self._flags |= AF

    def _alarm_at(self, second: int) -> bool:
        clock = second % DAY_SECONDS
        return (
            self._matches(SECONDS_ALARM, self._encode(clock % 60))
            and self._matches(MINUTES_ALARM, self._encode(clock // 60 % 60))
            and self._matches(HOURS_ALARM, self._encode_hour(clock // 3600))
        )

    def _matches(self, index: int, value: int) -> bool:
        alarm = self._memory[index]
        return alarm & DONT_CARE == DONT_CARE or alarm == value

    def _cycles(self) -> int:
        """The periodic interrupt's period in cycles of 32.768 kHz, 0 for none (data sheet, table 4)."""
        rate = self._memory[A] & RATE
        return 0 if rate == 0 else 1 << (rate + 6 if rate <= 2 else rate - 1)

    def _periods(self, now: int) -> int:
        """How many periods have ended at a time."""
        cycles = self._cycles()
        return now * 32768 // (cycles * SECOND) if cycles else 0

    def _next_event(self) -> int | None:
        """How many ns from now an enabled interrupt may come; an armed alarm is looked at every second."""
        now = self._now()
        waits = []
        if self._memory[B] & PIE and (cycles := self._cycles()):
            end = -(-(self._periods(now) + 1) * cycles * SECOND // 32768)  # rounded up: not before it has ended
            waits.append(end - now)
        if self._memory[B] & (AIE | UIE) and not self._setting:
            waits.append(SECOND - now % SECOND)
        return min(waits, default=None)
