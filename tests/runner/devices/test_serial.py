"""The 16550A against the data sheet."""

import pytest
from attrs import evolve

from runner.devices.serial import CHARACTER, FIFO_SIZE, HOST_BUFFER, LOOKS, Serial, SerialState
from vmspec.registers.serial import (
    BI,
    CHARACTER_TIMEOUT,
    DLAB,
    DLL,
    DLM,
    DR,
    DTR,
    EDSSI,
    ELSI,
    ERBFI,
    ETBEI,
    FCR,
    FIFO_ENABLE,
    FIFO_ERROR,
    IER,
    IIR,
    LCR,
    LOOP,
    LSR,
    MCR,
    MODEM_STATUS,
    MSR,
    NO_INTERRUPT,
    OE,
    OUT1,
    OUT2,
    RBR,
    RCVR_FIFO_RESET,
    RECEIVED_DATA,
    RECEIVER_LINE_STATUS,
    RTS,
    SCR,
    TEMT,
    TERI,
    THR,
    THR_EMPTY,
    THRE,
    TRIGGER,
)


@pytest.fixture
def uart(plug):
    return plug(Serial())


def pending(uart):
    return uart.read(IIR) & 0x0F


def listening(uart, fcr=FIFO_ENABLE, ier=ERBFI):
    uart.write(FCR, fcr)
    uart.write(IER, ier)
    uart.write(MCR, RTS | OUT2)


def arrive(uart, data):
    """Input, and the time until it is there."""
    uart.receive(data)
    uart.elapse()


def drain(uart):
    """What a guest gets that reads until nothing is there, at most 100 bytes."""
    data = b""
    while uart.read(LSR) & DR and len(data) < 100:
        data += bytes((uart.read(RBR),))
    return data


def take(uart):
    """What a guest gets that polls until nothing comes any more."""
    data, empty = b"", 0
    while empty <= LOOKS:
        if uart.read(LSR) & DR:
            data, empty = data + bytes((uart.read(RBR),)), 0
        else:
            empty += 1
    return data


def test_reset_state(uart):
    assert [uart.read(register) for register in range(1, 8)] == [0, NO_INTERRUPT, 0, 0, THRE | TEMT, 0xB0, 0]


FRESH = SerialState(
    divisor=12, ier=0, fcr=0, lcr=0, mcr=0, scr=0, modem=0xB0, delta=0, overrun=False, thr_emptied=False,
    flow_control=False, fifo=b"", breaks=0, looped=0, host=b"", host_breaks=0, gap=LOOKS, arrives_in=None,
)  # fmt: skip


def test_state_when_the_power_comes_on(uart):
    assert uart.device.save() == FRESH


def test_state_after_use(uart):
    """What cannot be read from a register: FCR without FIFOs is not programmed, and nothing is being sent."""
    uart.write(FCR, 0xC0 | RCVR_FIFO_RESET)
    uart.write(IER, ETBEI)
    uart.read(IIR)
    uart.write(IER, ERBFI)
    arrive(uart, b"x")
    assert uart.device.save() == evolve(FRESH, ier=ERBFI, fifo=b"x", gap=0)


@pytest.mark.parametrize(
    ("register", "kept"), [(IER, 0x0F), (LCR, 0xFF), (MCR, 0x1F), (SCR, 0xFF)], ids=["ier", "lcr", "mcr", "scr"]
)
def test_registers_keep_the_bits_they_have(uart, register, kept):
    uart.write(register, 0xFF)
    assert uart.read(register) == kept


@pytest.mark.parametrize("register", [LSR, MSR])
def test_status_registers_are_read_only(uart, register):
    before = uart.read(register)
    uart.write(register, ~before & 0xFF)
    assert uart.read(register) == before


def test_divisor_latch_hides_data_and_interrupt_enable(uart):
    uart.write(IER, ERBFI)
    uart.write(LCR, DLAB)
    uart.write(DLL, 0x34)
    uart.write(DLM, 0x12)
    latch = uart.read(DLL), uart.read(DLM)
    uart.write(LCR, 0)
    assert (*latch, uart.read(IER), uart.text) == (0x34, 0x12, ERBFI, b"")


def test_divisor_bytes_are_set_one_without_the_other(uart):
    uart.write(LCR, DLAB)
    uart.write(DLL, 0xFFFF, size=2)
    uart.write(DLL, 0x34)
    first = uart.read(DLL, size=2)
    uart.write(DLM, 0x12)
    assert (first, uart.read(DLL, size=2)) == (0xFF34, 0x1234)


def test_registers_that_do_not_change_are_read_without_python(uart):
    calls = uart.calls
    for register in range(8):
        uart.read(register)
    for register in (LSR, MSR):
        uart.write(register, 0)
    assert uart.calls == calls


# The interrupt enables that C may take, as turning them on and off neither raises nor lowers the line.


def overrun(uart):
    uart.write(MCR, LOOP)
    uart.write(THR, 1)
    uart.write(THR, 2)


def modem_change(uart):
    uart.write(MCR, LOOP)
    uart.write(MCR, 0)


@pytest.mark.parametrize(
    ("happens", "enables"),
    [
        (lambda uart: None, ERBFI | ELSI | EDSSI),
        (lambda uart: uart.receive(b"x"), ELSI | EDSSI),
        (modem_change, ERBFI | ELSI),
        (overrun, 0),
        (lambda uart: uart.write(LCR, DLAB), None),
        (lambda uart: uart.write(IER, ETBEI), None),
    ],
    ids=["quiet", "input", "modem", "overrun", "divisor", "pending"],
)
def test_interrupt_enables_that_need_no_python(uart, happens, enables):
    happens(uart)
    assert uart.masks.get((IER, 1)) == enables


def test_word_access_reaches_two_registers(uart):
    uart.write(LCR, DLAB)
    uart.write(DLL, 0x1234, size=2)
    assert (uart.read(DLL), uart.read(DLM), uart.read(DLL, size=2)) == (0x34, 0x12, 0x1234)


def test_lanes_past_the_last_register_read_as_ones(uart):
    uart.write(SCR, 0x5A)
    assert uart.read(SCR, size=2) == 0xFF5A


def test_console_output_needs_no_python_per_byte(uart):
    calls = uart.calls
    for byte in b"hello\n":
        assert uart.read(LSR) & THRE
        uart.write(THR, byte)
    assert uart.calls == calls
    uart.flush()
    assert uart.text == b"hello\n"


def test_output_before_a_register_change_is_not_taken_for_what_comes_after(uart):
    uart.write(THR, ord("a"))
    uart.write(LCR, DLAB)
    uart.write(DLL, ord("b"))
    uart.write(LCR, 0)
    uart.write(THR, ord("c"))
    uart.flush()
    assert uart.text == b"ac"


# Transmitter interrupt


def test_enabling_the_transmitter_interrupt_raises_it(uart):
    uart.write(MCR, OUT2)
    uart.write(IER, ETBEI)
    assert (uart.level, pending(uart)) == (True, THR_EMPTY)


def test_reading_the_identification_ends_the_transmitter_interrupt(uart):
    uart.write(MCR, OUT2)
    uart.write(IER, ETBEI)
    uart.read(IIR)
    assert (uart.level, pending(uart)) == (False, NO_INTERRUPT)


def test_enabling_it_again_does_not_raise_the_transmitter_interrupt(uart):
    uart.write(IER, ETBEI)
    uart.read(IIR)
    uart.write(IER, ETBEI | ELSI)
    assert pending(uart) == NO_INTERRUPT


@pytest.mark.parametrize(("fcr", "shown"), [(0, 0x02), (FIFO_ENABLE, 0xC2)])
def test_identification_of_the_transmitter_shows_enabled_fifos(uart, fcr, shown):
    uart.write(FCR, fcr)
    uart.write(IER, ETBEI)
    assert uart.read(IIR) == shown


def test_nothing_is_pending_that_is_not_enabled(uart):
    """Data and an overrun without their enables (8.6)."""
    uart.write(MCR, LOOP)
    uart.write(THR, 1)
    uart.write(THR, 2)
    assert pending(uart) == NO_INTERRUPT


def test_identification_of_another_interrupt_leaves_the_transmitters(uart):
    listening(uart, ier=ERBFI | ETBEI)
    arrive(uart, b"x")
    assert pending(uart) == RECEIVED_DATA
    uart.read(RBR)
    assert pending(uart) == THR_EMPTY


def test_each_transmission_raises_the_interrupt_again(uart):
    uart.write(MCR, OUT2)
    uart.write(IER, ETBEI)
    uart.read(IIR)
    uart.write(THR, ord("x"))
    assert (uart.level, pending(uart)) == (True, THR_EMPTY)


def test_transmission_gives_a_new_edge_though_nobody_read_the_identification(uart):
    uart.write(MCR, OUT2)
    uart.write(IER, ETBEI)
    edges = uart.edges
    uart.write(THR, ord("x"))
    assert uart.edges == edges + 1


def test_queued_output_is_urgent_only_while_its_interrupt_is_on(uart):
    uart.write(IER, ETBEI)
    on = uart.hurry
    uart.write(IER, 0)
    assert (on, uart.hurry) == (True, False)


def test_the_interrupt_needs_no_out2_as_teaching_systems_leave_it_off(uart):
    uart.write(IER, ETBEI)
    assert uart.level


def test_the_interrupt_line_is_quiet_in_loopback(uart):
    uart.write(IER, ETBEI)
    uart.write(MCR, OUT2 | LOOP)
    assert not uart.level


# Receiver


def test_empty_receiver_reads_as_zero_without_python(uart):
    calls = uart.calls
    assert (uart.read(RBR), uart.calls) == (0, calls)


def test_a_guest_that_sets_nothing_up_can_poll_for_input(uart):
    uart.receive(b"poll")
    assert take(uart) == b"poll"


def test_without_fifos_one_byte_waits_and_the_line_follows_it(uart):
    listening(uart, fcr=0)
    arrive(uart, b"ab")
    assert (uart.level, pending(uart)) == (True, RECEIVED_DATA)
    assert take(uart) == b"ab"
    assert (uart.level, pending(uart)) == (False, NO_INTERRUPT)


@pytest.mark.parametrize("code", range(4))
def test_trigger_level_tells_data_from_timeout(uart, code):
    listening(uart, fcr=FIFO_ENABLE | code << 6)
    arrive(uart, bytes(TRIGGER[code]))
    assert pending(uart) == RECEIVED_DATA
    uart.read(RBR)
    assert pending(uart) == (CHARACTER_TIMEOUT if TRIGGER[code] > 1 else NO_INTERRUPT)


def test_input_of_any_length_arrives_whole(uart):
    listening(uart)
    data = bytes(range(256)) * 40
    uart.receive(data)
    assert take(uart) == data


def test_room_shrinks_by_what_waits(uart):
    listening(uart, fcr=FIFO_ENABLE | 0xC0)
    arrive(uart, bytes(1000))
    assert uart.device.room() == HOST_BUFFER - 1000 + TRIGGER[3]


def test_there_is_no_room_beyond_the_buffer(uart):
    uart.receive(bytes(HOST_BUFFER))
    assert uart.device.room() == 0


def test_a_tick_is_wanted_only_while_a_character_is_to_interrupt(uart):
    uart.receive(b"x")
    polled = uart.wait
    uart.write(IER, ERBFI)
    enabled = uart.wait
    uart.write(IER, 0)
    uart.flush()
    assert (polled, enabled, uart.wait) == (None, CHARACTER, None)


def test_input_waits_while_rts_is_off_and_the_interrupt_disabled(uart):
    uart.write(MCR, OUT2)
    uart.receive(b"later")
    early = take(uart)
    uart.write(MCR, RTS)
    assert (early, take(uart)) == (b"", b"later")


def test_receive_interrupt_alone_lets_input_in(uart):
    uart.write(MCR, 0)
    uart.write(IER, ERBFI)
    uart.receive(b"irq")
    assert take(uart) == b"irq"


@pytest.mark.parametrize("fcr", [0, *(FIFO_ENABLE | code << 6 for code in range(4))])
def test_a_handler_that_reads_one_byte_for_each_edge_gets_all(uart, fcr):
    listening(uart, fcr=fcr)
    got, edges = b"", uart.edges
    arrive(uart, b"a pasted line of text\n")
    while uart.edges > edges:
        edges = uart.edges
        got += bytes((uart.read(RBR),))
    assert (got, uart.level) == (b"a pasted line of text\n", False)


def test_the_line_stays_high_between_two_bytes_for_another_interrupt(uart):
    listening(uart, fcr=0, ier=ERBFI | ETBEI)
    arrive(uart, b"ab")
    edges = uart.edges
    uart.read(RBR)
    assert (uart.level, uart.edges, pending(uart)) == (True, edges, RECEIVED_DATA)


def test_the_fifo_above_its_trigger_level_keeps_the_line_high(uart):
    uart.write(FCR, FIFO_ENABLE)
    uart.write(MCR, LOOP)
    for byte in b"abc":
        uart.write(THR, byte)
    uart.write(MCR, RTS)
    uart.write(IER, ERBFI)
    edges = [uart.edges]
    for _ in range(3):
        uart.read(RBR)
        edges.append(uart.edges)
    assert (edges, uart.level) == ([1, 1, 1, 1], False)


@pytest.mark.parametrize("ier", [0, ERBFI])
def test_a_fifo_reset_empties_the_receiver_while_input_waits(uart, ier):
    listening(uart, ier=ier)
    arrive(uart, b"abcdef")
    uart.write(FCR, FIFO_ENABLE | RCVR_FIFO_RESET)
    assert (uart.read(LSR), uart.level, uart.read(RBR)) == (THRE | TEMT, False, 0)
    assert take(uart) == b"abcdef"


def test_the_interrupt_comes_by_itself_after_a_fifo_reset(uart):
    listening(uart)
    arrive(uart, b"abc")
    uart.write(FCR, FIFO_ENABLE | RCVR_FIFO_RESET)
    before = uart.level
    uart.elapse()
    assert (before, uart.level, uart.read(RBR)) == (False, True, ord("a"))


@pytest.mark.parametrize("ier", [0, ERBFI])
@pytest.mark.parametrize("fcr", [0, FIFO_ENABLE, FIFO_ENABLE | RCVR_FIFO_RESET | 0xC0])
def test_a_driver_that_drains_at_its_start_eats_no_input(uart, ier, fcr):
    uart.receive(b"x" * 1000)
    listening(uart, fcr=fcr, ier=ier)
    blind = uart.read(RBR)
    assert (blind, drain(uart)) == (0, b"")
    assert len(take(uart)) == 1000


def test_a_driver_that_drains_later_gets_no_more_than_the_fifo_holds(uart):
    listening(uart, fcr=FIFO_ENABLE | 0xC0, ier=0)
    uart.receive(b"x" * 1000)
    while not uart.read(LSR) & DR:
        pass
    assert len(drain(uart)) == TRIGGER[3]


def test_no_time_passes_in_vain_where_no_input_waits(uart):
    listening(uart)
    assert uart.wait is None


@pytest.mark.parametrize("fcr", [FIFO_ENABLE | RCVR_FIFO_RESET, 0], ids=["reset", "disable"])
def test_bytes_thrown_away_unread_are_sent_again(uart, fcr):
    listening(uart)
    arrive(uart, b"0123456789abcdefghij")
    uart.read(RBR)
    uart.write(FCR, fcr)
    assert take(uart) == b"123456789abcdefghij"


def test_fifo_reset_needs_the_enable_bit(uart):
    listening(uart, fcr=0)
    uart.write(MCR, LOOP)
    uart.write(THR, ord("x"))
    uart.write(FCR, RCVR_FIFO_RESET)
    assert uart.read(LSR) & DR


def test_a_new_trigger_level_leaves_the_fifo_as_it_is(uart):
    uart.write(FCR, FIFO_ENABLE)
    uart.write(MCR, LOOP)
    uart.write(THR, ord("x"))
    uart.write(FCR, FIFO_ENABLE | 0xC0)
    assert uart.read(LSR) & DR


def test_what_is_left_of_looped_bytes_is_dropped_as_the_hosts_are_not(uart):
    uart.write(FCR, FIFO_ENABLE)
    uart.write(MCR, LOOP)
    for byte in b"abc":
        uart.write(THR, byte)
    uart.read(RBR)
    uart.write(MCR, RTS)
    uart.write(FCR, 0)
    assert take(uart) == b""


def test_fifo_reset_drops_what_was_looped_back(uart):
    uart.write(FCR, FIFO_ENABLE)
    uart.write(MCR, LOOP)
    uart.write(THR, ord("x"))
    uart.write(FCR, FIFO_ENABLE | RCVR_FIFO_RESET)
    assert not uart.read(LSR) & DR


def test_identification_shows_enabled_fifos(uart):
    uart.write(FCR, FIFO_ENABLE)
    on = uart.read(IIR)
    uart.write(FCR, 0)
    assert (on, uart.read(IIR)) == (0xC1, 0x01)


# Loopback


def test_loopback_returns_bytes_and_prints_nothing(uart):
    uart.write(FCR, FIFO_ENABLE)
    uart.write(MCR, LOOP)
    for byte in b"loop":
        uart.write(THR, byte)
    assert (take(uart), uart.text) == (b"loop", b"")


def test_looped_bytes_survive_the_end_of_loopback(uart):
    uart.write(FCR, FIFO_ENABLE)
    uart.write(MCR, LOOP)
    uart.write(THR, ord("x"))
    uart.write(MCR, RTS)
    uart.receive(b"y")
    assert take(uart) == b"xy"


def test_arrived_input_stays_while_modem_outputs_change(uart):
    listening(uart)
    arrive(uart, b"x")
    uart.write(MCR, RTS | DTR)
    assert uart.read(LSR) & DR


def test_arrived_input_is_not_there_in_loopback(uart):
    listening(uart)
    arrive(uart, b"host")
    uart.write(MCR, RTS | LOOP)
    inside = drain(uart)
    uart.write(MCR, RTS)
    assert (inside, take(uart)) == (b"", b"host")


def test_host_input_stays_outside_loopback(uart):
    listening(uart)
    uart.receive(b"host")
    uart.write(MCR, LOOP | RTS)
    inside = take(uart)
    uart.write(MCR, RTS)
    assert (inside, take(uart)) == (b"", b"host")


def test_full_fifo_keeps_its_bytes_on_overrun(uart):
    uart.write(FCR, FIFO_ENABLE)
    uart.write(MCR, LOOP)
    for byte in range(FIFO_SIZE + 3):
        uart.write(THR, byte)
    assert uart.read(LSR) == THRE | TEMT | OE | DR
    assert take(uart) == bytes(range(FIFO_SIZE))


def test_without_fifos_overrun_replaces_the_byte(uart):
    uart.write(MCR, LOOP)
    uart.write(THR, 1)
    uart.write(THR, 2)
    assert (uart.read(LSR) & OE, uart.read(RBR)) == (OE, 2)


def test_reading_line_status_clears_the_overrun_and_its_interrupt(uart):
    uart.write(IER, ELSI | ERBFI)
    uart.write(MCR, LOOP)
    uart.write(THR, 1)
    uart.write(THR, 2)
    before = pending(uart)
    uart.read(LSR)
    assert (before, pending(uart), uart.read(LSR) & OE) == (RECEIVER_LINE_STATUS, RECEIVED_DATA, 0)


@pytest.mark.parametrize(("control", "status"), [(DTR, 0x20), (RTS, 0x10), (OUT1, 0x40), (OUT2, 0x80)])
def test_loopback_ties_modem_outputs_to_inputs(uart, control, status):
    uart.write(MCR, LOOP | control)
    assert uart.read(MSR) & 0xF0 == status


def test_modem_changes_are_told_once(uart):
    uart.write(MCR, LOOP)
    uart.read(MSR)
    uart.write(MCR, LOOP | RTS)
    assert (uart.read(MSR), uart.read(MSR)) == (0x11, 0x10)


def test_modem_inputs_outside_loopback_do_not_follow_the_outputs(uart):
    uart.write(MCR, DTR)
    assert uart.read(MSR) == 0xB0


def test_modem_changes_gather_until_they_are_read(uart):
    uart.write(MCR, LOOP | OUT1)
    uart.read(MSR)
    for control in (LOOP | OUT1 | RTS, LOOP | OUT1 | RTS | DTR, LOOP | RTS | DTR):
        uart.write(MCR, control)
    assert uart.read(MSR) & 0x0F == 0x01 | 0x02 | TERI


def test_ring_is_told_at_its_trailing_edge_only(uart):
    uart.write(MCR, LOOP | OUT1)
    leading = uart.read(MSR) & TERI
    uart.write(MCR, LOOP)
    assert (leading, uart.read(MSR) & TERI) == (0, TERI)


def test_modem_interrupt_has_the_lowest_priority(uart):
    uart.write(IER, EDSSI | ETBEI)
    uart.write(MCR, LOOP | RTS)
    assert (pending(uart), pending(uart)) == (THR_EMPTY, MODEM_STATUS)
    uart.read(MSR)
    assert pending(uart) == NO_INTERRUPT


def test_loopback_shuts_the_interrupt_gate(uart):
    uart.write(MCR, OUT2)
    uart.write(IER, ETBEI)
    uart.write(MCR, OUT2 | LOOP)
    assert not uart.level


# Saved and loaded


def test_a_character_on_its_way_arrives_after_a_load(uart, plug):
    listening(uart)
    uart.receive(b"ab")
    uart.let_pass(CHARACTER * 4 // 10)
    state = uart.device.save()
    assert (state.arrives_in, state.host, state.fifo) == (CHARACTER * 6 // 10, b"ab", b"")
    other = plug(Serial(), clock=type(uart.clock)(now=5))
    other.device.load(state)
    assert other.wait == CHARACTER * 6 // 10
    other.let_pass(CHARACTER * 6 // 10 - 1)
    before = other.level
    other.let_pass(1)
    assert (before, other.level, take(other)) == (False, True, b"ab")


def test_a_character_that_is_late_arrives_at_once(uart):
    listening(uart)
    uart.receive(b"a")
    uart.clock.now += 2 * CHARACTER
    assert uart.device.save().arrives_in == 0


def test_all_of_a_port_s_state_is_loaded(uart, plug):
    state = SerialState(
        divisor=0x1234, ier=ERBFI | EDSSI, fcr=FIFO_ENABLE | 0x80, lcr=0x03, mcr=RTS | OUT2, scr=0x5A, modem=0xB0,
        delta=0x01, overrun=True, thr_emptied=True, flow_control=True, fifo=b"abc", breaks=0b100, looped=1, host=b"de",
        host_breaks=0b10, gap=1, arrives_in=None,
    )  # fmt: skip
    uart.device.load(state)
    assert uart.device.save() == state
    assert (uart.read(IIR), uart.read(LSR), uart.read(MSR)) == (0xCC, THRE | TEMT | OE | DR | FIFO_ERROR, 0xB1)
    assert [uart.read(register) for register in (IER, LCR, MCR, SCR)] == [ERBFI | EDSSI, 0x03, RTS | OUT2, 0x5A]
    assert take(uart) == b"abcde"


def test_a_loaded_state_with_more_bytes_than_the_fifo_takes_is_an_overrun_at_the_next(uart):
    uart.device.load(evolve(FRESH, mcr=LOOP, fifo=bytes(FIFO_SIZE - 1)))
    for byte in (1, 2):
        uart.write(THR, byte)
    assert (uart.device.save().fifo, uart.device.save().overrun) == (b"\x02", True)
    assert uart.read(LSR) & OE


def test_a_break_is_a_zero_whose_status_says_so_until_it_is_read(uart):
    listening(uart, fcr=FIFO_ENABLE | 0x40, ier=ERBFI | ELSI)  # four characters are read at once
    arrive(uart, b"a")
    uart.device.line_break()
    uart.receive(b"b")
    assert uart.read(LSR) & (DR | BI | FIFO_ERROR) == DR | FIFO_ERROR
    assert (pending(uart), uart.read(RBR)) == (CHARACTER_TIMEOUT, ord("a"))
    assert pending(uart) == RECEIVER_LINE_STATUS
    assert uart.read(LSR) & (DR | BI | FIFO_ERROR) == DR | BI | FIFO_ERROR
    assert uart.read(LSR) & (DR | BI | FIFO_ERROR) == DR
    assert [uart.read(RBR), uart.read(RBR), uart.read(LSR) & DR] == [0, ord("b"), 0]


def test_a_break_that_is_read_first_has_no_status(uart):
    listening(uart, fcr=0, ier=ERBFI | ELSI)
    uart.device.line_break()
    uart.elapse()
    assert (uart.read(RBR), uart.read(LSR) & (DR | BI | FIFO_ERROR), pending(uart)) == (0, 0, NO_INTERRUPT)


def test_a_break_outlives_what_gives_input_back_and_a_load(uart, plug):
    listening(uart)
    uart.device.sysrq("t")
    uart.elapse()
    uart.write(FCR, FIFO_ENABLE | RCVR_FIFO_RESET)
    other = plug(Serial())
    other.device.load(uart.device.save())
    other.elapse()
    assert other.read(LSR) & (DR | BI) == DR | BI
    assert (other.read(RBR), other.read(RBR)) == (0, ord("t"))


def test_a_break_without_room_is_lost(uart):
    uart.receive(bytes(HOST_BUFFER - 1))
    uart.device.sysrq("t")
    assert uart.device.room() == 1
    uart.device.line_break()
    uart.device.line_break()
    assert uart.device.room() == 0
