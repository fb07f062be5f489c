"""The clock against the MC146818A's data sheet, on a clock that the test advances."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.devices.device import Board
from runner.devices.rtc import RTC, SECOND, RTCState
from tests.fakes.fakeclock import FakeClock
from vmspec.plan.memory_map import slots
from vmspec.registers.rtc import (
    AIE,
    CENTURY,
    DATA,
    DAY,
    DM,
    HOUR_24,
    HOURS,
    HOURS_ALARM,
    INDEX,
    MINUTES,
    MINUTES_ALARM,
    MONTH,
    PIE,
    SECONDS,
    SECONDS_ALARM,
    SET,
    UIE,
    UIP,
    WEEKDAY,
    YEAR,
    A,
    B,
    C,
    D,
)

START = datetime(2024, 2, 28, 23, 59, 30, tzinfo=UTC)  # a Wednesday, two minutes before a leap day


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def rtc(plug, clock):
    return plug(RTC(START), clock=clock)


def get(rtc, index):
    rtc.write(INDEX, index)
    return rtc.read(DATA)


def put(rtc, index, value):
    rtc.write(INDEX, index)
    rtc.write(DATA, value)


def mach_get_cmos_time(rtc):
    """Linux's way to the time at boot: wait until no update is near, read, and take BCD apart."""
    assert not get(rtc, A) & UIP  # for ever, as this clock stands still
    raw = [get(rtc, index) for index in (CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS)]
    if not get(rtc, B) & DM:
        raw = [(value >> 4) * 10 + (value & 15) for value in raw]
    century, year, *rest = raw
    return datetime(century * 100 + year, *rest, tzinfo=UTC)


def mc146818_set_time(rtc, moment):
    """Linux's way to set the time."""
    control = get(rtc, B)
    put(rtc, B, control | SET)
    put(rtc, A, get(rtc, A) | 0x70)
    fields = {
        YEAR: moment.year % 100,
        MONTH: moment.month,
        DAY: moment.day,
        HOURS: moment.hour,
        MINUTES: moment.minute,
        SECONDS: moment.second,
        CENTURY: moment.year // 100,
    }
    for index, value in fields.items():
        put(rtc, index, value // 10 << 4 | value % 10)
    put(rtc, B, control)
    put(rtc, A, 0x26)


def test_starts_at_the_given_time(rtc):
    assert mach_get_cmos_time(rtc) == START


def test_starts_at_the_given_time_by_a_clock_that_has_run(plug):
    assert mach_get_cmos_time(plug(RTC(START), clock=FakeClock(now=77 * SECOND))) == START


def test_a_start_elsewhere_than_in_greenwich_is_shown_in_utc(plug):
    there = START.astimezone(timezone(timedelta(hours=2)))
    assert mach_get_cmos_time(plug(RTC(there), clock=FakeClock())) == START


def test_without_a_start_it_is_the_machine_s_date_to_the_nanosecond(plug):
    clock = FakeClock(date=int(START.timestamp()) * SECOND - 1)
    rtc = plug(RTC(), clock=clock)
    before = get(rtc, SECONDS)
    clock.now = 1
    assert (before, get(rtc, SECONDS)) == (0x29, 0x30)


def test_state_when_the_power_comes_on(rtc):
    memory = bytearray(128)
    memory[A], memory[B], memory[D] = 0x26, HOUR_24, 0x80
    assert rtc.device.save() == RTCState(
        index=0, memory=bytes(memory), follows=False, time=int(START.timestamp()) * SECOND, behind=0, standing=None,
        weekday=0, weekday_written=False, flags=0,
    )  # fmt: skip
    assert rtc.read(DATA) == 0x30, "the index is that of the seconds"


def test_starts_within_a_second(plug, clock):
    rtc = plug(RTC(START.replace(microsecond=999_999)), clock=clock)
    shown = []
    for clock.now in (999, 1000):
        shown.append(get(rtc, SECONDS))
    assert shown == [0x30, 0x31]


def test_is_made_of_the_time_and_the_memory_of_its_spec(plug, clock):
    rtc = plug(RTC.make({"time": START}, Board(Path(), slots(64 << 20))), clock=clock)
    assert (mach_get_cmos_time(rtc), get(rtc, 0x15), get(rtc, 0x16)) == (START, 640 & 0xFF, 640 >> 8)


def test_follows_the_date_by_default(plug, clock):
    rtc = plug(RTC(), clock=clock)
    before = mach_get_cmos_time(rtc)
    clock.date += 86400 * SECOND  # somebody sets it
    assert (before, mach_get_cmos_time(rtc)) == (
        datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        datetime(2023, 11, 15, 22, 13, 20, tzinfo=UTC),
    )


def test_who_sets_the_date_does_not_move_a_given_time(rtc, clock):
    clock.date += 86400 * SECOND
    assert mach_get_cmos_time(rtc) == START


def test_time_goes_on_over_a_leap_day(rtc, clock):
    clock.now += 86400 * SECOND
    assert mach_get_cmos_time(rtc) == datetime(2024, 2, 29, 23, 59, 30, tzinfo=UTC)


def test_weekday_counts_from_sunday(rtc):
    assert get(rtc, WEEKDAY) == 4


def test_reset_state(rtc):
    assert [get(rtc, index) for index in (A, B, C, D)] == [0x26, HOUR_24, 0, 0x80]


def test_binary_mode(rtc):
    put(rtc, B, HOUR_24 | DM)
    assert (get(rtc, MINUTES), get(rtc, YEAR)) == (59, 24)


@pytest.mark.parametrize(("hour", "shown"), [(0, 0x12), (1, 0x01), (12, 0x92), (23, 0x91)])
def test_twelve_hour_mode(plug, clock, hour, shown):
    rtc = plug(RTC(START.replace(hour=hour)), clock=clock)
    put(rtc, B, 0)
    assert get(rtc, HOURS) == shown


@pytest.mark.parametrize(("hour", "shown"), [(0, 0x12), (1, 0x01), (11, 0x11), (12, 0x92), (13, 0x81), (23, 0x91)])
def test_hour_that_is_set_in_twelve_hour_mode(rtc, hour, shown):
    put(rtc, B, 0)
    put(rtc, HOURS, shown)
    put(rtc, B, HOUR_24)
    assert mach_get_cmos_time(rtc) == START.replace(hour=hour)


def test_linux_sets_the_time(rtc, clock):
    moment = datetime(1999, 12, 31, 23, 59, 58, tzinfo=UTC)
    clock.now += 100 * SECOND
    mc146818_set_time(rtc, moment)
    clock.now += 3 * SECOND
    assert mach_get_cmos_time(rtc) == datetime(2000, 1, 1, 0, 0, 1, tzinfo=UTC)


# Whole seconds: this clock stands still, and in the last milliseconds of a second an update would be near for ever.
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2069, 12, 31)).map(lambda moment: moment.replace(microsecond=0))


@given(moment=MOMENTS, twelve=st.booleans(), binary=st.booleans())
def test_any_time_that_is_set_is_read_back(plug, moment, twelve, binary):
    source = plug(RTC(moment))
    copy = plug(RTC(START))
    mode = (0 if twelve else HOUR_24) | (DM if binary else 0)
    put(source, B, mode)
    put(copy, B, mode | SET)
    for index in (SECONDS, MINUTES, HOURS, DAY, MONTH, YEAR, CENTURY):
        put(copy, index, get(source, index))
    put(copy, B, mode)
    for guest in (source, copy):
        put(guest, B, HOUR_24)
    assert mach_get_cmos_time(copy) == mach_get_cmos_time(source) == moment.replace(tzinfo=UTC)


def test_single_register_may_be_set_without_stopping_the_clock(rtc):
    put(rtc, MINUTES, 0x30)
    assert mach_get_cmos_time(rtc) == START.replace(minute=30)


@pytest.mark.parametrize(("index", "value"), [(HOURS, 0x24), (MINUTES, 0x60), (SECONDS, 0x60)])
def test_a_time_of_day_that_does_not_exist_leaves_the_clock_as_it_was(rtc, index, value):
    put(rtc, index, value)
    assert mach_get_cmos_time(rtc) == START


def date(rtc):
    return [get(rtc, index) for index in (DAY, MONTH, YEAR, CENTURY)]


def test_date_may_pass_through_days_that_do_not_exist(plug, clock):
    rtc = plug(RTC(datetime(2026, 1, 31, 13, 5, 10, tzinfo=UTC)), clock=clock)
    seen = []
    for steps in (
        {MONTH: 0x04, DAY: 0x15},  # 31 April
        {YEAR: 0x24, MONTH: 0x02, DAY: 0x29},
        {YEAR: 0x25, MONTH: 0x03, DAY: 0x10},  # 29 February 2025
        {MONTH: 0x13, CENTURY: 0xFF, DAY: 0x00, YEAR: 0x27},
        {MONTH: 0x12, CENTURY: 0x20, DAY: 0x01},
    ):
        for index, value in steps.items():
            put(rtc, index, value)
        seen.append(date(rtc))
    assert seen == [
        [0x15, 0x04, 0x26, 0x20],
        [0x29, 0x02, 0x24, 0x20],
        [0x10, 0x03, 0x25, 0x20],
        [0x00, 0x13, 0x27, 0xFF],
        [0x01, 0x12, 0x27, 0x20],
    ]


@pytest.mark.parametrize("late", [False, True], ids=["early", "late"])
def test_date_that_does_not_exist_stands_until_midnight(rtc, clock, late):
    clock.now += 30 * SECOND - 1 if late else 0
    put(rtc, MONTH, 0x13)
    put(rtc, MINUTES, 0x59)
    clock.now = 30 * SECOND - 1
    stands = get(rtc, MONTH)
    clock.now += SECOND
    assert (stands, date(rtc)) == (0x13, [0x29, 0x02, 0x24, 0x20])


@pytest.mark.parametrize(
    ("day", "following"), [(0x00, (29, 2)), (0x01, (2, 2)), (0x30, (2, 3)), (0x31, (3, 3)), (0x32, (29, 2))]
)
def test_midnight_after_a_day_that_was_set(rtc, clock, day, following):
    """Of 2024. A day that February does not have is March's; what no month has changes nothing."""
    put(rtc, DAY, day)
    clock.now += 30 * SECOND
    now = mach_get_cmos_time(rtc)
    assert (now.day, now.month) == following


def test_time_of_day_is_set_beside_a_date_that_does_not_exist(rtc):
    put(rtc, MONTH, 0x13)
    for index, value in ((HOURS, 0x05), (MINUTES, 0x06), (SECONDS, 0x07)):
        put(rtc, index, value)
    assert [get(rtc, index) for index in (HOURS, MINUTES, SECONDS, MONTH)] == [0x05, 0x06, 0x07, 0x13]


def test_a_date_stands_no_longer_once_a_day_has_passed(plug, clock):
    """Even where the host's date, which the clock follows, comes back to that day."""
    rtc = plug(RTC(), clock=clock)
    put(rtc, MONTH, 0x13)
    shown = []
    for days in (1, -1):
        clock.date += days * 86400 * SECOND
        shown.append(date(rtc))
    assert shown == [[0x15, 0x11, 0x23, 0x20], [0x14, 0x11, 0x23, 0x20]]


def test_the_last_day_before_the_epoch_is_shown(plug, clock):
    moment = datetime(1969, 12, 31, 12, tzinfo=UTC)
    assert mach_get_cmos_time(plug(RTC(moment), clock=clock)) == moment


def test_a_second_lasts_to_its_last_nanosecond(rtc, clock):
    clock.now = SECOND - 1
    last = get(rtc, SECONDS)
    clock.now += 1
    assert (last, get(rtc, SECONDS)) == (0x30, 0x31)


@given(
    written=st.lists(st.tuples(st.sampled_from((WEEKDAY, DAY, MONTH, YEAR, CENTURY)), st.integers(0, 255))),
    control=st.sampled_from((HOUR_24, HOUR_24 | DM, 0, DM)),
    stopped=st.booleans(),
)
def test_every_date_register_reads_as_it_was_written(plug, written, control, stopped):
    rtc = plug(RTC(START.replace(hour=12)))
    put(rtc, B, control)
    expected = {WEEKDAY: None} | {index: get(rtc, index) for index in (DAY, MONTH, YEAR, CENTURY)}
    put(rtc, B, control | SET if stopped else control)
    for index, value in written:
        put(rtc, index, value)
        expected[index] = value
    put(rtc, B, control)
    assert {index: get(rtc, index) for index, value in expected.items() if value is not None} == {
        index: value for index, value in expected.items() if value is not None
    }


@pytest.mark.parametrize("weekday", range(1, 8))
def test_weekday_that_is_written_goes_on_from_there(rtc, clock, weekday):
    put(rtc, WEEKDAY, weekday)
    put(rtc, DAY, 0x10)
    before = get(rtc, WEEKDAY)
    clock.now += 60 * SECOND
    assert (before, get(rtc, WEEKDAY)) == (weekday, weekday % 7 + 1)


def test_weekday_follows_a_date_that_is_set_without_it(rtc):
    put(rtc, DAY, 0x27)
    assert get(rtc, WEEKDAY) == 3


GIB = 1 << 30


@pytest.mark.parametrize(
    ("memory", "sizes"),
    [
        (512 << 10, (512, 0, 0, 0)),
        (64 << 20, (640, 63 << 10, 48 << 4, 0)),
        (3 * GIB, (640, 0xFFFF, 0xBF00, 0)),
        (5 * GIB, (640, 0xFFFF, 0xBF00, 2 << 14)),
        (2048 * GIB, (640, 0xFFFF, 0xBF00, 0xFFFFFF)),  # the most that there is room for
    ],
)
def test_cmos_memory_has_the_sizes_of_ram(plug, memory, sizes):
    rtc = plug(RTC(START, slots=slots(memory)))

    def size(index, length=2):
        return sum(get(rtc, index + at) << 8 * at for at in range(length))

    assert (size(0x15), size(0x17), size(0x30), size(0x34), size(0x5B, 3)) == (*sizes[:2], *sizes[1:])
    assert get(rtc, 0x5E) == 0


def test_checksum_of_the_cmos_memory(plug):
    rtc = plug(RTC(START, slots=slots(64 << 20)))
    assert get(rtc, 0x2E) << 8 | get(rtc, 0x2F) == sum(get(rtc, index) for index in range(0x10, 0x2E))


def test_time_stands_while_it_is_set(rtc, clock):
    put(rtc, B, HOUR_24 | SET)
    clock.now += 10 * SECOND
    assert get(rtc, SECONDS) == 0x30


def test_the_end_of_time_does_not_overflow(rtc, clock):
    put(rtc, B, HOUR_24 | DM)
    put(rtc, B, HOUR_24 | SET | DM)
    for index, value in ((CENTURY, 99), (YEAR, 99), (MONTH, 12), (DAY, 31)):
        put(rtc, index, value)
    put(rtc, B, HOUR_24 | DM)
    clock.now += 86400 * SECOND
    assert get(rtc, CENTURY) == 99


def test_update_in_progress_shows_before_the_second_ends(rtc, clock):
    clock.now = SECOND - 1_000_000
    near = get(rtc, A) & UIP
    clock.now = SECOND
    assert (near, get(rtc, A) & UIP) == (UIP, 0)


def test_update_in_progress_rises_244_us_before_an_update_of_1984_us(rtc, clock):
    """Table 6, with a time base of 32.768 kHz."""
    shown = []
    for clock.now in (SECOND - 2_228_001, SECOND - 2_228_000, SECOND - 1, SECOND):
        shown.append(get(rtc, A))
    assert shown == [0x26, 0x26 | UIP, 0x26 | UIP, 0x26]


def test_setting_the_time_ends_the_update(rtc, clock):
    """Register B, SET: it inhibits any update cycle, and clears UIP."""
    put(rtc, B, HOUR_24 | SET)
    clock.now = SECOND - 1
    assert get(rtc, A) == 0x26


def test_update_in_progress_cannot_be_written(rtc):
    put(rtc, A, 0xA6)
    assert get(rtc, A) == 0x26


def test_memory_keeps_what_is_written_and_is_read_without_python(rtc):
    put(rtc, 0x0F, 0xA5)
    calls = rtc.calls
    assert (rtc.read(DATA), rtc.calls) == (0xA5, calls)


def test_memory_that_is_written_does_not_move_the_clock(rtc, clock):
    clock.now = SECOND // 2
    put(rtc, 0x40, 0x77)
    clock.now = SECOND
    assert get(rtc, SECONDS) == 0x31


def test_nmi_mask_is_not_part_of_the_index(rtc):
    put(rtc, 0x40, 0x77)
    assert get(rtc, 0x80 | 0x40) == 0x77


def test_index_is_write_only(rtc):
    assert rtc.read(INDEX) == 0xFF


@pytest.mark.parametrize("index", [C, D])
def test_flags_and_battery_cannot_be_written(rtc, index):
    before = get(rtc, index)
    put(rtc, index, 0x7F)
    assert get(rtc, index) == before


# Interrupts


def test_flags_rise_without_interrupts_for_who_polls(rtc, clock):
    clock.now += SECOND
    assert (get(rtc, C), get(rtc, C)) == (0x50, 0)


def test_flags_gather_until_they_are_read(rtc, clock):
    clock.now += SECOND
    put(rtc, 0x40, 0)  # each write looks what has happened
    for index, value in ((HOURS_ALARM, 0x23), (MINUTES_ALARM, 0x59), (SECONDS_ALARM, 0x32)):
        put(rtc, index, value)
    put(rtc, A, 0x20)  # no periods from here on
    clock.now += SECOND
    put(rtc, A, 0x26)
    clock.now += SECOND // 10
    assert get(rtc, C) == 0x70


def test_no_tick_is_asked_for_without_interrupts(rtc):
    get(rtc, C)
    assert rtc.wait is None


@pytest.mark.parametrize("enable", [UIE, AIE, PIE])
def test_the_tick_is_called_off_with_its_interrupt(rtc, enable):
    put(rtc, B, HOUR_24 | enable)
    asked = rtc.wait
    put(rtc, B, HOUR_24)
    assert (asked is None, rtc.wait) == (False, None)


def test_update_interrupt_each_second(rtc, clock):
    put(rtc, B, HOUR_24 | UIE)
    seen = []
    for _ in range(3):
        rtc.let_pass(SECOND)
        seen.append((rtc.level, get(rtc, C) & 0x90, rtc.level))
    assert seen == [(True, 0x90, False)] * 3


def test_the_tick_is_asked_for_at_the_end_of_the_second(rtc, clock):
    clock.now = SECOND // 4
    put(rtc, B, HOUR_24 | UIE)
    assert rtc.wait == SECOND - SECOND // 4


def test_line_stays_up_until_the_flags_are_read(rtc, clock):
    put(rtc, B, HOUR_24 | UIE)
    rtc.let_pass(5 * SECOND)
    assert (rtc.edges, rtc.level, rtc.wait) == (1, True, None)


@pytest.mark.parametrize(("rate", "hertz"), [(1, 256), (2, 128), (3, 8192), (6, 1024), (15, 2)])
def test_periodic_interrupt_rate(rtc, clock, rate, hertz):
    put(rtc, A, 0x20 | rate)
    get(rtc, C)
    put(rtc, B, HOUR_24 | PIE)
    end = clock.now + SECOND
    count = 0
    while clock.now + rtc.wait <= end:
        rtc.let_pass(rtc.wait)
        assert rtc.level
        get(rtc, C)
        count += 1
    assert count == hertz


def test_rate_zero_gives_no_periodic_interrupt(rtc):
    put(rtc, A, 0x20)
    put(rtc, B, HOUR_24 | PIE)
    assert rtc.wait is None


def alarm(rtc, hour, minute, second):
    for index, value in ((HOURS_ALARM, hour), (MINUTES_ALARM, minute), (SECONDS_ALARM, second)):
        put(rtc, index, value)
    get(rtc, C)
    put(rtc, B, HOUR_24 | AIE)


def seconds_to_interrupt(rtc, clock, most=200):
    for second in range(1, most):
        rtc.let_pass(SECOND)
        if rtc.level:
            return second
    return None


def test_alarm_interrupts_at_its_time(rtc, clock):
    alarm(rtc, 0x00, 0x00, 0x05)
    assert seconds_to_interrupt(rtc, clock) == 35


def test_alarm_bytes_may_match_everything(rtc, clock):
    alarm(rtc, 0xFF, 0xC0, 0x45)
    first = seconds_to_interrupt(rtc, clock)
    get(rtc, C)
    assert (first, seconds_to_interrupt(rtc, clock)) == (15, 60)


def test_alarm_that_never_matches(rtc, clock):
    alarm(rtc, 0x00, 0x00, 0x7F)
    assert seconds_to_interrupt(rtc, clock) is None


@pytest.mark.parametrize(
    ("hour", "control", "alarmed"),
    [
        (23, AIE, (0x12, 0x00, 0x05)),
        (11, AIE, (0x92, 0x00, 0x05)),
        (0, AIE, (0x01, 0x00, 0x05)),
        (12, AIE, (0x81, 0x00, 0x05)),
        (9, HOUR_24 | AIE, (0x10, 0x00, 0x05)),
        (9, HOUR_24 | DM | AIE, (10, 0, 5)),
        (20, DM | AIE, (0x80 | 9, 0, 5)),
    ],
)
def test_alarm_has_the_format_of_the_time(plug, clock, hour, control, alarmed):
    """Register B: BCD or binary, 12 or 24 hours; PM is the high bit of the hours."""
    rtc = plug(RTC(START.replace(hour=hour)), clock=clock)
    for index, value in zip((HOURS_ALARM, MINUTES_ALARM, SECONDS_ALARM), alarmed, strict=True):
        put(rtc, index, value)
    put(rtc, B, control)
    assert seconds_to_interrupt(rtc, clock) == 35


def test_no_update_ends_and_no_alarm_comes_while_the_time_is_set(rtc, clock):
    alarm(rtc, 0xFF, 0xFF, 0xFF)
    put(rtc, B, HOUR_24 | AIE | SET)
    clock.now += 10 * SECOND
    assert (rtc.wait, get(rtc, C) & 0x30, rtc.level) == (None, 0, False)


@pytest.mark.parametrize("minute", [0x00, 0x58])
def test_a_time_that_is_set_ends_no_update(rtc, minute):
    """Neither forward nor back."""
    alarm(rtc, 0xFF, 0xFF, 0xFF)
    put(rtc, MINUTES, minute)
    assert (get(rtc, C) & 0x30, rtc.level) == (0, False)


@pytest.mark.parametrize("time", [(0x01, 0x00, 0x00), (0x01, 0x01, 0x00), (0x23, 0x59, 0x29)])
def test_alarm_flag_at_its_second_and_not_before(plug, clock, time):
    rtc = plug(RTC(datetime(2024, 2, 28, tzinfo=UTC)), clock=clock)
    for index, value in zip((HOURS_ALARM, MINUTES_ALARM, SECONDS_ALARM), time, strict=True):
        put(rtc, index, value)
    hours, minutes, seconds = (int(f"{value:x}") for value in time)
    clock.now = (hours * 3600 + minutes * 60 + seconds) * SECOND - 1
    before = get(rtc, C) & 0x20
    clock.now += 1
    assert (before, get(rtc, C) & 0x20) == (0, 0x20)


@pytest.mark.parametrize("second", [0x29, 0x30, 0x31])
def test_alarm_flag_after_a_long_time_without_ticks(rtc, clock, second):
    """Whole days later: what is a second before the time of day now, that time, and the one after it."""
    for index, value in ((HOURS_ALARM, 0x23), (MINUTES_ALARM, 0x59), (SECONDS_ALARM, second)):
        put(rtc, index, value)
    get(rtc, C)
    clock.now += timedelta(days=400) // timedelta(seconds=1) * SECOND
    assert get(rtc, C) & 0x20


def test_setting_the_time_turns_the_update_interrupt_off(rtc):
    put(rtc, B, HOUR_24 | UIE)
    put(rtc, B, HOUR_24 | UIE | SET)
    assert get(rtc, B) == HOUR_24 | SET


# Saved and loaded


def test_a_saved_clock_goes_on_by_another_clock(rtc, clock, plug):
    put(rtc, WEEKDAY, 7)
    put(rtc, MONTH, 0x13)
    put(rtc, 0x40, 0x5A)
    clock.now = SECOND * 8 // 10
    state = rtc.device.save()
    assert state.time == int(START.timestamp()) * SECOND + clock.now
    other = plug(RTC(START.replace(year=1999)), clock=FakeClock(now=77 * SECOND + 5))
    other.device.load(state)
    shown = [get(other, index) for index in (SECONDS, MONTH, WEEKDAY, 0x40)]
    other.clock.now += SECOND // 5
    assert (shown, get(other, SECONDS)) == ([0x30, 0x13, 7, 0x5A], 0x31)


@pytest.mark.parametrize(("tenths", "flags"), [(5, 0x40), (13, 0x50)])
def test_what_has_happened_since_the_flags_were_read_is_not_lost(rtc, clock, plug, tenths, flags):
    clock.now = SECOND * 3 // 10
    get(rtc, C)
    clock.now = SECOND * tenths // 10
    state = rtc.device.save()
    assert state.behind == clock.now - SECOND * 3 // 10
    other = plug(RTC(START), clock=FakeClock(now=99 * SECOND))
    other.device.load(state)
    assert get(other, C) == flags


def test_a_clock_that_follows_the_date_keeps_its_distance(plug, clock):
    rtc = plug(RTC(), clock=clock)
    before = mach_get_cmos_time(rtc)
    mc146818_set_time(rtc, before + timedelta(hours=5))
    state = rtc.device.save()
    assert state.time == 5 * 3600 * SECOND
    other = plug(RTC(), clock=FakeClock(date=clock.date + 60 * SECOND))
    other.device.load(state)
    assert mach_get_cmos_time(other) == before + timedelta(hours=5, minutes=1)
