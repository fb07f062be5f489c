"""The interrupt controllers, as the data sheet describes them and as Linux uses them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.devices.i8259 import I8259
from vmspec.registers import i8259 as R

TIMER, KEYBOARD, CLOCK = 0, 1, 8


class Processor:
    """The pair, and the processor's side of it."""

    def __init__(self, guest):
        self.guest = guest
        self.write, self.read = guest.write, guest.read
        self.device = guest.device

    def start(self, masks=(0, 0), icw4=0x01):
        """As Linux starts them (arch/x86/kernel/i8259.c, init_8259A)."""
        for command, mask, base, third in (
            (R.MASTER_COMMAND, R.MASTER_MASK, 0x30, 0x04),
            (R.SLAVE_COMMAND, R.SLAVE_MASK, 0x38, 0x02),
        ):
            self.write(command, 0x11)
            for word in (base, third, icw4):
                self.write(mask, word)
        self.write(R.MASTER_MASK, masks[0])
        self.write(R.SLAVE_MASK, masks[1])
        return self

    def raises(self, irq):
        """An edge."""
        self.device.set_line(irq, True)
        self.device.set_line(irq, False)

    def takes(self):
        """The vector of the interrupt that waits, None: none does."""
        return self.device.acknowledge() if self.intr else None

    def eoi(self):
        self.write(R.MASTER_COMMAND, R.EOI)

    @property
    def intr(self):
        return self.guest.device._output


@pytest.fixture
def pair(plug):
    return Processor(plug(I8259()))


def test_after_power_on_everything_is_masked(pair):
    pair.raises(TIMER)
    assert (pair.read(R.MASTER_MASK), pair.read(R.SLAVE_MASK), pair.takes()) == (0xFF, 0xFF, None)


def test_an_edge_interrupts_once(pair):
    pair.start().raises(TIMER)
    assert (pair.takes(), pair.takes()) == (0x30, None)


def test_a_line_that_stays_high_is_no_further_edge(pair):
    pair.start()
    pair.device.set_line(KEYBOARD, True)
    vector = pair.takes()
    pair.device.set_line(KEYBOARD, True)
    pair.eoi()
    assert (vector, pair.takes()) == (0x31, None)


def test_a_masked_edge_waits(pair):
    pair.start(masks=(0x01, 0)).raises(TIMER)
    before = pair.takes()
    pair.write(R.MASTER_MASK, 0)
    assert (before, pair.takes()) == (None, 0x30)


def test_the_slave_interrupts_through_the_cascade(pair):
    pair.start().raises(CLOCK)
    vector = pair.takes()
    pair.write(R.MASTER_COMMAND, R.OCW3 | R.OCW3_READ | R.OCW3_READ_ISR)
    assert (vector, pair.read(R.MASTER_COMMAND)) == (0x38, 1 << R.CASCADE)


def test_a_masked_cascade_keeps_the_slave_out(pair):
    pair.start(masks=(1 << R.CASCADE, 0)).raises(CLOCK)
    assert pair.takes() is None


def test_a_slave_that_is_masked_again_leaves_no_spurious_interrupt(pair):
    pair.start().raises(CLOCK)
    pair.write(R.SLAVE_MASK, 0xFF)
    assert pair.takes() is None


def test_the_lower_number_comes_first_and_keeps_others_out_until_its_end(pair):
    pair.start()
    pair.raises(KEYBOARD)
    pair.raises(TIMER)
    first = pair.takes()
    during = pair.takes()
    pair.eoi()
    assert (first, during, pair.takes()) == (0x30, None, 0x31)


def test_a_higher_priority_interrupts_a_handler(pair):
    pair.start().raises(KEYBOARD)
    first = pair.takes()
    pair.raises(TIMER)
    assert (first, pair.takes()) == (0x31, 0x30)


def test_a_request_that_is_withdrawn_is_the_spurious_interrupt(pair):
    pair.start().raises(TIMER)
    pair.write(R.MASTER_MASK, 0x01)
    assert (pair.device.acknowledge(), pair.read(R.MASTER_COMMAND)) == (0x37, 0x01)


def test_specific_end_of_interrupt(pair):
    pair.start().raises(KEYBOARD)
    pair.takes()
    pair.raises(TIMER)
    pair.takes()
    pair.write(R.MASTER_COMMAND, R.EOI | R.SPECIFIC | KEYBOARD)
    pair.write(R.MASTER_COMMAND, R.OCW3 | R.OCW3_READ | R.OCW3_READ_ISR)
    assert pair.read(R.MASTER_COMMAND) == 1 << TIMER


def test_automatic_end_of_interrupt(pair):
    pair.start(icw4=0x01 | R.ICW4_AUTO_EOI)
    pair.raises(TIMER)
    first = pair.takes()
    pair.raises(TIMER)
    assert (first, pair.takes()) == (0x30, 0x30)


def test_rotation_makes_the_served_one_the_last(pair):
    pair.start()
    pair.raises(TIMER)
    pair.takes()
    pair.write(R.MASTER_COMMAND, R.ROTATE | R.EOI)
    pair.raises(TIMER)
    pair.raises(KEYBOARD)
    assert pair.takes() == 0x31


def test_the_priority_can_be_set(pair):
    pair.start()
    pair.write(R.MASTER_COMMAND, R.ROTATE | R.SPECIFIC | 3)
    pair.raises(3)
    pair.raises(4)
    assert pair.takes() == 0x34


def test_in_special_mask_mode_a_masked_handler_keeps_nobody_out(pair):
    pair.start().raises(TIMER)
    pair.takes()
    pair.write(R.MASTER_COMMAND, R.OCW3 | R.OCW3_SPECIAL_SET | R.OCW3_SPECIAL)
    pair.write(R.MASTER_MASK, 0x01)
    pair.raises(KEYBOARD)
    assert pair.takes() == 0x31


def test_in_special_fully_nested_mode_the_slave_interrupts_its_own_handler(pair):
    pair.start(icw4=0x01 | R.ICW4_NESTED).raises(12)
    first = pair.takes()
    pair.raises(CLOCK)
    assert (first, pair.takes()) == (0x3C, 0x38)


def test_a_poll_is_an_acknowledgement(pair):
    pair.start().raises(KEYBOARD)
    answers = []
    for _ in range(2):
        pair.write(R.MASTER_COMMAND, R.OCW3 | R.OCW3_POLL)
        answers.append(pair.read(R.MASTER_COMMAND))
    assert (answers, pair.takes()) == ([R.POLLED | 1, 0], None)


def test_a_level_interrupts_as_long_as_it_is_high(pair):
    pair.start()
    pair.write(R.SLAVE_EDGE_LEVEL, 0x02)
    pair.device.set_line(9, True)
    vectors = [pair.takes()]
    for chip in (R.SLAVE_COMMAND, R.MASTER_COMMAND):
        pair.write(chip, R.EOI)
    vectors.append(pair.takes())
    pair.device.set_line(9, False)
    for chip in (R.SLAVE_COMMAND, R.MASTER_COMMAND):
        pair.write(chip, R.EOI)
    assert (vectors, pair.takes()) == ([0x39, 0x39], None)


def test_inputs_that_are_always_edges_take_no_levels(pair):
    pair.write(R.MASTER_EDGE_LEVEL, 0xFF)
    pair.write(R.SLAVE_EDGE_LEVEL, 0xFF)
    assert (pair.read(R.MASTER_EDGE_LEVEL), pair.read(R.SLAVE_EDGE_LEVEL)) == (0xF8, 0xDE)


def test_the_initialisation_forgets_edges_and_interrupts_nobody_before_its_end(pair):
    pair.start().raises(TIMER)
    pair.write(R.MASTER_COMMAND, 0x11)
    pair.raises(KEYBOARD)
    during = pair.takes()
    for word in (0x40, 0x04, 0x01):
        pair.write(R.MASTER_MASK, word)
    assert (during, pair.takes(), pair.takes()) == (None, 0x41, None)


def test_an_initialisation_of_two_words(pair):
    pair.write(R.MASTER_COMMAND, R.ICW1 | R.ICW1_SINGLE)
    pair.write(R.MASTER_MASK, 0x28)
    pair.write(R.MASTER_MASK, 0xFE)
    pair.raises(TIMER)
    assert (pair.takes(), pair.read(R.MASTER_MASK)) == (0x28, 0xFE)


@pytest.mark.long
@given(st.lists(st.tuples(st.sampled_from(range(8)), st.integers(0, 255)), max_size=60))
def test_an_output_that_is_high_has_an_interrupt_that_is_not_masked(plug, actions):
    """Whatever a guest writes; 6 and 7 stand for a line and for the processor."""
    pair = Processor(plug(I8259()))
    for register, value in actions:
        if register < 6:
            pair.write(register, value)
            pair.read(register)
        elif register == 6:
            pair.device.set_line(value & 15, bool(value & 16))
        elif pair.intr:
            masks = [pair.read(at) for at in (R.MASTER_MASK, R.SLAVE_MASK)]
            bases = [chip.base for chip in (pair.device._master, pair.device._slave)]
            polled = pair.device._master.polled or pair.device._slave.polled
            vector = pair.device.acknowledge()
            lines = [line for line in range(16) if bases[line >> 3] | line & 7 == vector]
            assert polled or any(not masks[line >> 3] >> (line & 7) & 1 for line in lines)
