"""The timer: counters by their modes, and the interrupts of counter 0."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.devices.i8254 import I8254, SECOND
from vmspec.registers import i8254 as R

ONCE, ONE_SHOT, RATE, SQUARE, STROBE, TRIGGERED = range(6)


class Timer:
    """A guest's view of the timer; time passes in cycles of its input."""

    def __init__(self, guest):
        self.guest = guest
        self.write, self.read = guest.write, guest.read

    def start(self, counter, mode, count, access=R.BOTH, bcd=0):
        self.write(R.CONTROL, counter << R.COUNTER | access << R.ACCESS | mode << R.MODE | bcd)
        if access & R.LOW:
            self.write(counter, count & 0xFF)
        if access & R.HIGH:
            self.write(counter, count >> 8)
        return self

    def count(self, counter=0):
        return self.read(counter) | self.read(counter) << 8

    def latched(self, counter=0):
        self.write(R.CONTROL, counter << R.COUNTER)
        return self.count(counter)

    def status(self, counter=0):
        self.write(R.CONTROL, R.READ_BACK << R.COUNTER | R.NO_COUNT | 2 << counter)
        return self.read(counter)

    def passes(self, cycles):
        """Wait until so many cycles have passed since the clock's time 0 as now and then."""
        now = self.guest.clock.now
        end = -(-(now * R.HZ // SECOND + cycles) * SECOND // R.HZ)
        self.guest.let_pass(end - now)
        return self

    @property
    def interrupts(self):
        return self.guest.edges


@pytest.fixture
def timer(plug):
    return Timer(plug(I8254()))


def test_interrupt_on_terminal_count_comes_once(timer):
    timer.start(0, ONCE, 1000)
    found = []
    for cycles in (999, 1, 100_000):
        timer.passes(cycles)
        found.append(timer.interrupts)
    assert found == [0, 1, 1]


@pytest.mark.parametrize("mode", [RATE, SQUARE])
def test_periodic_modes_interrupt_each_period(timer, mode):
    timer.start(0, mode, 1000)
    found = []
    for cycles in (999, 1, 999, 1, 10_000):
        timer.passes(cycles)
        found.append(timer.interrupts)
    assert found == [0, 1, 1, 2, 12]


def test_a_count_of_zero_is_the_longest(timer):
    timer.start(0, RATE, 0).passes(65535)
    before = timer.interrupts
    timer.passes(1)
    assert (before, timer.interrupts) == (0, 1)


def test_a_second_of_interrupts_has_the_rate_of_the_input(timer):
    """HZ=250 on Linux: the latch is 4773."""
    timer.start(0, RATE, 4773)
    timer.guest.let_pass(SECOND)
    assert timer.interrupts == R.HZ // 4773


def test_edges_that_pass_between_two_looks_are_one_interrupt(timer):
    timer.start(0, RATE, 100)
    timer.guest.clock.now += SECOND
    timer.guest.device.tick()
    assert timer.interrupts == 1


def test_an_edge_is_not_lost_by_an_access_before_its_tick(timer):
    timer.start(0, ONCE, 100)
    timer.guest.clock.now += SECOND
    timer.count()
    timer.start(0, ONCE, 0)
    assert timer.interrupts == 1


def test_setting_the_mode_stops_the_interrupts(timer):
    timer.start(0, RATE, 100)
    timer.write(R.CONTROL, R.BOTH << R.ACCESS)
    timer.passes(1000)
    assert (timer.interrupts, timer.guest.wait) == (0, None)


def test_a_software_triggered_strobe_rises_after_its_cycle(timer):
    timer.start(0, STROBE, 10).passes(10)
    before = timer.interrupts
    timer.passes(1)
    assert (before, timer.interrupts) == (0, 1)


@pytest.mark.parametrize("mode", [ONE_SHOT, TRIGGERED])
def test_modes_that_wait_for_the_gate_never_interrupt(timer, mode):
    """Counter 0's gate is wired high."""
    timer.start(0, mode, 10).passes(1000)
    assert timer.interrupts == 0


@pytest.mark.parametrize(
    ("mode", "counts"),
    [(ONCE, [10, 7, 0, 65533]), (RATE, [10, 7, 10, 7]), (SQUARE, [10, 4, 10, 4]), (STROBE, [10, 7, 0, 65533])],
)
def test_counters_count_down(timer, mode, counts):
    timer.start(0, mode, 10)
    shown = []
    for cycles in (0, 3, 7, 3):
        shown.append(timer.passes(cycles).latched())
    assert shown == counts


def test_a_decimal_counter(timer):
    timer.start(0, ONCE, 0x1000, bcd=1)
    assert (timer.latched(), timer.passes(1).latched(), timer.passes(1000).latched()) == (0x1000, 0x0999, 0x9999)


def test_one_byte_is_read_and_written_alone(timer):
    timer.start(0, ONCE, 0x1200, access=R.HIGH)
    low = timer.start(2, RATE, 0x34, access=R.LOW)
    assert (timer.read(0), low.read(2)) == (0x12, 0x34)


def test_a_latched_count_stays_until_it_is_read(timer):
    timer.start(0, ONCE, 0x1234)
    timer.write(R.CONTROL, 0)
    timer.passes(0x34)
    timer.write(R.CONTROL, 0)
    assert (timer.count(), timer.latched()) == (0x1234, 0x1200)


def test_the_status_shows_mode_access_and_output(timer):
    timer.write(R.CONTROL, R.BOTH << R.ACCESS | SQUARE << R.MODE)
    before = timer.status()
    timer.start(0, SQUARE, 10)
    first = timer.status()
    timer.passes(5)
    assert (before, first, timer.status()) == (R.OUT | R.NULL_COUNT | 0x36, R.OUT | 0x36, 0x36)


def test_a_timer_that_was_not_set_has_a_count_and_never_interrupts(timer):
    assert [timer.status(counter) & R.NULL_COUNT for counter in range(3)] == [0, 0, 0]
    timer.passes(10 * R.HZ)
    assert timer.interrupts == 0
    timer.write(R.CONTROL, R.BOTH << R.ACCESS)
    assert timer.status() & R.NULL_COUNT


def test_read_back_latches_the_status_before_the_count(timer):
    timer.start(0, ONCE, 0x1234)
    timer.write(R.CONTROL, R.READ_BACK << R.COUNTER | 2)
    timer.passes(1)
    assert (timer.read(0), timer.count()) == (0x30, 0x1234)


@pytest.mark.parametrize("mode", [6, 7])
def test_bit_2_of_the_periodic_modes_does_not_count(timer, mode):
    timer.start(0, mode, 10)
    assert timer.status() == R.OUT | 0x30 | mode - 4 << R.MODE


def test_counter_2_shows_its_output_at_port_61(timer):
    """As Linux calibrates by it (arch/x86/kernel/tsc.c, pit_calibrate_tsc)."""
    timer.write(R.SPEAKER, R.GATE2)
    timer.start(2, ONCE, 100)
    before = timer.read(R.SPEAKER) & R.OUT2
    assert (before, timer.passes(100).read(R.SPEAKER) & R.OUT2) == (0, R.OUT2)


def test_the_gate_stops_counter_2(timer):
    timer.write(R.SPEAKER, R.GATE2)
    timer.start(2, ONCE, 100).passes(40)
    timer.write(R.SPEAKER, 0)
    timer.passes(1000)
    stopped = timer.latched(2)
    timer.write(R.SPEAKER, R.GATE2)
    assert (stopped, timer.passes(10).latched(2)) == (60, 50)


def test_a_rising_gate_triggers_a_one_shot_again(timer):
    timer.start(2, ONE_SHOT, 100)
    outputs = [timer.read(R.SPEAKER) & R.OUT2]
    for gate, cycles in ((R.GATE2, 99), (0, 1), (R.GATE2, 1)):
        timer.write(R.SPEAKER, gate)
        outputs.append(timer.passes(cycles).read(R.SPEAKER) & R.OUT2)
    assert outputs == [R.OUT2, 0, R.OUT2, 0]


def test_port_61_toggles_with_the_refresh_and_keeps_what_is_written(timer):
    timer.write(R.SPEAKER, 0xFF)
    shown = []
    for _ in range(4):
        shown.append(timer.read(R.SPEAKER) & ~R.OUT2)
        timer.guest.let_pass(R.REFRESH_PERIOD)
    assert shown == [0x0F, 0x1F, 0x0F, 0x1F]


def test_the_control_register_cannot_be_read(timer):
    assert timer.read(R.CONTROL) == 0xFF


@pytest.mark.long
@given(st.integers(0, 5), st.integers(0, 0xFFFF), st.lists(st.integers(0, 200_000), max_size=10))
def test_interrupts_are_the_rises_of_the_output(plug, mode, count, waits):
    """By a model that looks at the output in each cycle of the first 3,000."""
    timer = Timer(plug(I8254())).start(0, mode, count % 300)
    counter = timer.guest.device._counters[0]
    rises = [now for now in range(1, 3000) if counter.output(now) and not counter.output(now - 1)]
    ends = [end for end in sorted(waits) if end < 3000]
    for end in ends:
        timer.passes(max(0, end - timer.guest.device._cycles()))
        assert timer.interrupts == sum(rise <= end for rise in rises)
