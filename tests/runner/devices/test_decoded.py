"""The decoder names every register, bit and command of the device models."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.devices.i8042 import I8042
from runner.devices.rtc import RTC
from tests.runner.devices.test_registers import KINDS, VALUES, made, region
from tracer.decode import Decoder, value
from vmspec.devices.models import KINDS as MODELS
from vmspec.plan.memory_map import slots
from vmspec.registers import i8042, rtc

# Those with ports of their own: the planner places a generation ID.
PLACED = [kind for kind in KINDS if all(claimed.start is not None for claimed in MODELS[kind]().regions())]
every_kind = pytest.mark.parametrize("kind", PLACED)


def ports(kind):
    """The port of each register of a kind, by the register's number."""
    numbers = getattr(made(kind), "regions", {region(kind): 0})
    registers = getattr(made(kind), "registers", range(8))
    return {
        numbers[claimed.name] + offset: claimed.start + offset
        for claimed in MODELS[kind]().regions()
        for offset in range(claimed.size)
        if numbers[claimed.name] + offset in registers
    }


# The kinds that the decoder names. A new kind can come without names: its accesses are shown by device and port.
NAMED = {"serial", "i8042", "rtc", "acpi", "debug-port", "post-port", "debug-exit"}


def test_the_kinds_that_the_decoder_names_are_there():
    assert {*KINDS} >= NAMED


@every_kind
@pytest.mark.parametrize("direction", ["read", "write"])
def test_every_register_has_a_name(kind, direction):
    """If one register of a kind has a name, all have."""
    names = {port: Decoder().register("io", port, 1, direction, f"{kind}0")[0] for port in ports(kind).values()}
    unnamed = [hex(port) for port, name in names.items() if not name]
    assert unnamed == [] or (kind not in NAMED and len(unnamed) == len(names)), unnamed


def unnamed(meaning):
    """The bits that no name covers: they come last, in hexadecimal."""
    rest = meaning.rpartition("|")[2]
    return int(rest, 16) if re.fullmatch("0x[0-9a-f]+", rest) else 0


@pytest.mark.long
@every_kind
@given(data=st.data())
def test_every_bit_that_a_device_sets_has_a_name(plug, kind, data):
    """But for reserved ones that keep what the guest has written there."""
    guest, decoder = plug(made(kind), region=region(kind)), Decoder()
    kept = dict.fromkeys(ports(kind), 0)
    for _ in range(data.draw(st.integers(0, 30))):
        register, size = data.draw(st.sampled_from([*kept])), data.draw(st.sampled_from([1, 2]))
        covered, port = range(register, register + size), ports(kind)[register]
        if not kept.keys() >= {*covered}:
            continue
        if data.draw(st.booleans()):
            written = data.draw(VALUES) & (1 << 8 * size) - 1
            guest.write(register, written, size)
            decoder.decode("io", port, size, "write", written, f"{kind}0")
            for at in covered:
                kept[at] |= written >> 8 * (at - register) & 0xFF
        else:
            shown = guest.read(register, size)
            name, meaning = decoder.decode("io", port, size, "read", shown, f"{kind}0")
            reserved = sum(kept[at] << 8 * (at - register) for at in covered)
            assert unnamed(meaning) & ~reserved == 0, (name, hex(shown), meaning)


@pytest.mark.parametrize("address", [*range(0x0E), *range(0x80)])
def test_every_byte_of_cmos_that_says_something_has_a_name(plug, address):
    """Those of the clock, and those that are not zero in a machine with RAM everywhere."""
    guest, decoder = plug(RTC(None, slots(8 << 30))), Decoder()
    guest.write(rtc.INDEX, address)
    decoder.decode("io", rtc.INDEX_PORT, 1, "write", address)
    shown = guest.read(rtc.DATA)
    name = decoder.register("io", rtc.DATA_PORT, 1, "read")[0]
    assert name != f"CMOS {address:#04x}" or (address > rtc.D and shown == 0)


def answers(guest):
    found = []
    while guest.read(i8042.STATUS) & i8042.OUTPUT_FULL:
        found.append(guest.read(i8042.DATA))
    return found


@pytest.mark.parametrize("command", range(0x100))
def test_every_command_of_the_keyboard_controller_that_does_something_has_a_name(plug, command):
    def state(guest):
        saved = guest.device.save()
        return {name: getattr(saved, name) for name in saved.rules() if name != "status"}

    guest = plug(I8042())
    guest.write(i8042.COMMAND, i8042.DISABLE_A20 if command == i8042.ENABLE_A20 else i8042.DISABLE_KEYBOARD)
    before = state(guest)
    guest.write(i8042.COMMAND, command)
    done = state(guest) != before or answers(guest) or guest.ends
    if command in (i8042.DISABLE_KEYBOARD, i8042.ENABLE_AUXILIARY, i8042.DISABLE_AUXILIARY) or done:
        assert value("io", i8042.COMMAND_PORT, command, 1, "write") != ""


@pytest.mark.parametrize("command", range(0x100))
def test_every_command_that_the_keyboard_takes_has_a_name(plug, command):
    guest = plug(I8042())
    guest.write(i8042.DATA, command)
    if answers(guest) != [i8042.RESEND] or command == i8042.RESEND:
        assert value("io", i8042.DATA_PORT, command, 1, "write") != ""
