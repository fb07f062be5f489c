"""Entries of interrupts, in the tables of each mode."""

import struct
from types import SimpleNamespace

import pytest

from runner.x86.gates import handler
from vmspec.registers import system as R

IDT, GDT = 0x4000, 0x5000
REAL, PROTECTED, LONG = (0, 0), (R.CR0_PE, 0), (R.CR0_PE, R.EFER_LMA)


def entered(mode, memory, vector=0x21):
    state = SimpleNamespace(cr0=mode[0], efer=mode[1], idt=SimpleNamespace(base=IDT), gdt=SimpleNamespace(base=GDT))
    return handler(state, lambda address, size: memory.get(address, b"")[:size], vector)


def test_real_mode():
    assert entered(REAL, {IDT + 4 * 0x21: struct.pack("<2H", 0x1234, 0xF000)}) == 0xF1234


def test_protected_mode():
    """The segment's base is added, and the address has 32 bits."""
    gate = struct.pack("<2H2BH", 0x5678, 0x10 | 3, 0, 0x8E, 0xFEDC)
    segment = struct.pack("<2H4B", 0xFFFF, 0x3344, 0x22, 0x9A, 0xCF, 0x11)
    memory = {IDT + 8 * 0x21: gate, GDT + 0x10: segment}
    assert entered(PROTECTED, memory) == (0xFEDC5678 + 0x11223344) & 0xFFFFFFFF


def test_long_mode():
    gate = struct.pack("<2H2BHI4x", 0x5678, 0x10, 0, 0x8E, 0x1234, 0xFFFFFFFF)
    assert entered(LONG, {IDT + 16 * 0x21: gate}) == 0xFFFFFFFF12345678


@pytest.mark.parametrize("mode", [REAL, PROTECTED, LONG])
def test_tables_that_are_not_there(mode):
    assert entered(mode, {}) is None
    assert entered(mode, {IDT + 4 * 0x21: b"abc", IDT + 8 * 0x21: bytes(7), IDT + 16 * 0x21: bytes(15)}) is None


def test_a_segment_that_is_not_there():
    assert entered(PROTECTED, {IDT + 8 * 0x21: bytes(8)}) is None
