"""Where the processor enters the guest for an interrupt (Intel SDM volume 3, 6.10 to 6.14; volume 3, 20.1.4)."""

from collections.abc import Callable
from struct import Struct

from runner.x86.state import State
from vmspec.registers import system as R

VECTOR = Struct("<2H")  # real mode: offset, segment
GATE = Struct("<2H2BH")  # offset, selector, stack table, type, offset
WIDE = Struct("<2H2BHI4x")  # the same with the upper half of the offset
DESCRIPTOR = Struct("<2H4B")  # limit, base, base, type, limit, base

Read = Callable[[int, int], bytes]  # memory by linear address: address, size; less is returned where it ends


def handler(state: State, read: Read, vector: int) -> int | None:
    """The linear address of the first instruction for a vector; None if the tables are not in memory."""
    protected = WIDE if state.efer & R.EFER_LMA else GATE
    form = protected if state.cr0 & R.CR0_PE else VECTOR
    entry = read(state.idt.base + vector * form.size, form.size)
    if len(entry) < form.size:
        return None
    fields = form.unpack(entry)
    if form is VECTOR:
        return int(fields[0] + (fields[1] << 4))
    offset = fields[0] | fields[4] << 16
    if form is WIDE:
        return int(offset | fields[5] << 32)
    segment = read(state.gdt.base + (fields[1] & ~7), DESCRIPTOR.size)
    if len(segment) < DESCRIPTOR.size:
        return None
    _, low, middle, _, _, high = DESCRIPTOR.unpack(segment)
    return int(offset + (low | middle << 16 | high << 24)) & 0xFFFFFFFF
