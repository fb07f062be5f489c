"""The keyboard controller, and how Linux's i8042 and atkbd drivers use it."""

import pytest

from runner.devices.i8042 import I8042
from vmspec.registers.i8042 import COMMAND, DATA, STATUS

OUTPUT_FULL, INPUT_FULL, AUXILIARY, KEYLOCK = 0x01, 0x02, 0x20, 0x10


@pytest.fixture
def kbc(plug):
    return plug(I8042())


def answers(kbc):
    """Everything that waits in the output buffer."""
    data = []
    while kbc.read(STATUS) & OUTPUT_FULL:
        data.append(kbc.read(DATA))
    return data


def command(kbc, number, *parameters):
    kbc.write(COMMAND, number)
    for value in parameters:
        kbc.write(DATA, value)
    return answers(kbc)


@pytest.mark.parametrize(("number", "answer"), [(0xAA, 0x55), (0xAB, 0x00), (0xA9, 0x01), (0xC0, 0x80), (0xD0, 0xCF)])
def test_controller_commands_answer(kbc, number, answer):
    assert command(kbc, number) == [answer]


def test_command_byte_reads_back(kbc):
    command(kbc, 0x60, 0x74)
    assert command(kbc, 0x20) == [0x74]


@pytest.mark.parametrize(("off", "on", "bit"), [(0xAD, 0xAE, 0x10), (0xA7, 0xA8, 0x20)], ids=["keyboard", "auxiliary"])
def test_ports_are_disabled_and_enabled_in_the_command_byte(kbc, off, on, bit):
    shown = []
    for number in (on, off, on):
        command(kbc, number)
        shown.append(command(kbc, 0x20)[0])
    assert shown == [0x65 & ~bit, 0x65 | bit, 0x65 & ~bit]


def test_command_byte_is_as_firmware_leaves_it(kbc):
    """The keyboard on with its interrupt and in translation, the auxiliary port off, the self-test passed."""
    assert command(kbc, 0x20) == [0x65]


def test_self_test_sets_the_system_flag_and_no_other_bit(kbc):
    kbc.write(COMMAND, 0xAA)
    assert kbc.read(STATUS) == OUTPUT_FULL | 0x04 | 0x08 | KEYLOCK


def test_the_command_byte_sets_the_system_flag_until_the_next_self_test(kbc):
    shown = []
    for byte in (0x61, 0x65, 0x61):
        command(kbc, 0x60, byte)
        shown.append(kbc.read(STATUS) & 0x04)
    command(kbc, 0xAA)
    assert (shown, kbc.read(STATUS) & 0x04) == ([0, 0x04, 0], 0x04)


def test_output_port_shows_a_full_output_buffer(kbc):
    kbc.write(DATA, 0xEE)
    kbc.write(COMMAND, 0xD0)
    assert kbc.read(DATA) == 0xCF | 0x10


def test_byte_for_the_auxiliary_device_comes_back(kbc):
    assert command(kbc, 0xD3, 0x5A) == [0x5A]


def test_status_and_data_are_read_without_python_while_nothing_waits(kbc):
    command(kbc, 0xAA)
    calls = kbc.calls
    assert (kbc.read(DATA), kbc.read(STATUS), kbc.calls) == (0x55, 0x04 | 0x08 | KEYLOCK, calls)


def test_a_new_command_drops_the_parameter_that_was_due(kbc):
    command(kbc, 0x60)
    assert command(kbc, 0xD2, 0x42) == [0x42]


@pytest.mark.parametrize("number", [0xFE, 0xFC, 0xF0])
def test_pulsing_the_reset_line_resets(kbc, number):
    command(kbc, number)
    assert kbc.ends == [("reset", None)]


def test_output_port_resets(kbc):
    command(kbc, 0xD1, 0x02)
    assert (kbc.ends, command(kbc, 0xD0)) == ([("reset", None)], [0x02])


def test_turning_on_a20_the_way_linux_does_ends_nothing(kbc):
    """empty_8042() and enable_a20_kbc() in arch/x86/boot/a20.c."""
    assert command(kbc, 0xD1, 0xDF) == []
    command(kbc, 0xFF)
    assert (kbc.ends, command(kbc, 0xD0)) == ([], [0xCF])


def test_input_buffer_is_never_full(kbc):
    for offset in (COMMAND, DATA):
        kbc.write(offset, 0xFF)
        assert not kbc.read(STATUS) & INPUT_FULL


def test_data_stays_readable_after_it_was_read(kbc):
    command(kbc, 0xAA)
    assert kbc.read(DATA) == 0x55


def test_status_tells_commands_from_data(kbc):
    kbc.write(COMMAND, 0xAE)
    after_command = kbc.read(STATUS) & 0x08
    kbc.write(DATA, 0xF4)
    assert (after_command, kbc.read(STATUS) & 0x08) == (0x08, 0)


def test_word_access_does_not_reach_the_command_port(kbc):
    assert kbc.read(DATA, size=2) == 0xFF00


# Keyboard


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ([0xED, 0x02], [0xFA, 0xFA]),
        ([0xF3, 0x00], [0xFA, 0xFA]),
        ([0xF0, 0x00], [0xFA, 0xFA, 0x41]),
        ([0xEE], [0xEE]),
        ([0xF2], [0xFA, 0xAB, 0x41]),
        ([0xF4], [0xFA]),
        ([0xF5], [0xFA]),
        ([0xFF], [0xFA, 0xAA]),
        ([0x12], [0xFE]),
        ([0xED, 0xF4], [0xFA, 0xFA]),
        ([0xF0, 0x09], [0xFA, 0xFE]),
        ([0xFE], [0xAA]),
        ([0xF0, 0xED, 0x02], [0xFA, 0xFA, 0xFA]),
        ([0xF3, 0xED, 0x02], [0xFA, 0xFA, 0xFA]),
        ([0xF0, 0x03], [0xFA, 0xFA]),
        ([0xF0, 0x04, 0xF0, 0x00], [0xFA, 0xFE, 0xFA, 0xFA, 0x41]),
        ([0xF0, 0x01, 0xFF, 0xF0, 0x00], [0xFA, 0xFA, 0xAA, 0xFA, 0xFA, 0x41]),
        ([0xEE] * 20, [0xEE] * 17),
    ],
    ids=[
        "lights", "rate", "ask-set", "echo", "identify", "enable", "disable", "reset", "nonsense", "interrupted",
        "no-such-set", "say-again", "set-interrupted", "rate-interrupted", "last-set", "set-kept", "set-after-reset",
        "buffer",
    ],
)  # fmt: skip
def test_keyboard_answers(kbc, sent, said):
    for value in sent:
        kbc.write(DATA, value)
    assert answers(kbc) == said


@pytest.mark.parametrize(("number", "translated"), [(1, 0x43), (2, 0x41), (3, 0x3F)])
def test_keyboard_keeps_its_scan_code_set_and_tells_it_translated(kbc, number, translated):
    told = []
    for command_byte in (0x64, 0x24):
        command(kbc, 0x60, command_byte)
        for value in (0xF0, number, 0xF0, 0x00):
            kbc.write(DATA, value)
        told.append(answers(kbc)[-1])
    assert told == [translated, number]


def test_address_line_20_follows_its_commands(kbc):
    shown = []
    for number in (0xDD, 0xDF):
        command(kbc, number)
        shown.append(command(kbc, 0xD0)[0])
    assert (shown, kbc.ends) == ([0xCD, 0xCF], [])


def test_identity_without_translation(kbc):
    command(kbc, 0x60, 0x05)
    kbc.write(DATA, 0xF2)
    assert answers(kbc) == [0xFA, 0xAB, 0x83]


def test_disabled_keyboard_waits(kbc):
    command(kbc, 0xAD)
    kbc.write(DATA, 0xF4)
    before = answers(kbc)
    assert (before, command(kbc, 0xAE)) == ([], [0xFA])


def test_each_byte_gives_an_interrupt_edge(kbc):
    kbc.write(DATA, 0xF2)
    said = answers(kbc)
    assert (kbc.edges, len(said), kbc.level) == (3, 3, False)


def test_no_interrupt_unless_enabled(kbc):
    command(kbc, 0x60, 0x64)
    kbc.write(DATA, 0xF2)
    assert not kbc.level


# Linux: drivers/input/serio/i8042.c. A read that finds nothing waits for half a second; so none may.


def ask(kbc, number, *parameters):
    """i8042_command() with one answer; fails where Linux would run into its timeout."""
    kbc.write(COMMAND, number)
    for value in parameters:
        kbc.write(DATA, value)
    assert kbc.read(STATUS) & OUTPUT_FULL
    return kbc.read(DATA)


def linux_probe(kbc):
    """i8042_controller_check(), _init(), i8042_check_aux() and i8042_enable_kbd_port(); returns if there is a mouse."""
    assert not kbc.read(STATUS) & OUTPUT_FULL
    initial = ask(kbc, 0x20)
    assert ask(kbc, 0x20) == initial  # "Unable to get stable CTR read"
    assert kbc.read(STATUS) & KEYLOCK  # "Warning: Keylock active"
    control = (initial | 0x10) & ~0x01
    command(kbc, 0x60, control)
    kbc.write(COMMAND, 0xD3)
    kbc.write(DATA, 0x5A)
    assert kbc.read(STATUS) & OUTPUT_FULL
    looped = kbc.read(STATUS) & AUXILIARY and kbc.read(DATA) == 0x5A
    mouse = bool(looped) or ask(kbc, 0xA9) in (0x00, 0xFA, 0xFF)
    kbc.write(COMMAND, 0x60)
    kbc.write(DATA, control & ~0x10 | 0x01)
    return mouse


def test_linux_finds_no_mouse_without_waiting(kbc):
    assert not linux_probe(kbc)


def test_linux_probe_leaves_no_byte_and_no_interrupt_behind(kbc):
    linux_probe(kbc)
    assert (answers(kbc), kbc.level, kbc.ends) == ([], False, [])


def test_linux_finds_a_keyboard_by_interrupts_alone(kbc):
    """atkbd_probe() to atkbd_activate(): each command is answered, each answer interrupts."""
    linux_probe(kbc)
    heard = []
    for value in (0xF2, 0xF5, 0xED, 0x00, 0xF3, 0x00, 0xF4):
        kbc.write(DATA, value)
        while kbc.level:
            heard.append(kbc.read(DATA))
    assert heard == [0xFA, 0xAB, 0x41, 0xFA, 0xFA, 0xFA, 0xFA, 0xFA, 0xFA]


def test_linux_keyboard_reboot(kbc):
    """kb_wait() and the 0xfe of native_machine_emergency_restart()."""
    assert not kbc.read(STATUS) & INPUT_FULL
    kbc.write(COMMAND, 0xFE)
    assert kbc.ends == [("reset", None)]
