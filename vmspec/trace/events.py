"""KVM's tracepoints that are recorded, and which of their fields goes into which column of their table.

Specs name them too, so this module imports nothing.
"""

from collections.abc import Collection
from typing import NamedTuple


class Into(NamedTuple):
    """A field of a tracepoint goes into the column ``slot``, shifted left by ``shift`` bits; ``names`` are its names in
    different kernels. A signed field is sign-extended; ``negate`` stores -value."""

    slot: str
    names: tuple[str, ...]
    shift: int = 0
    negate: bool = False


def _into(**slots: str) -> tuple[Into, ...]:
    """``a="vector|irq"``: the first of the names that the kernel has. ``info1="rax rbx"``: two 32-bit halves, low
    first. ``a="-errno"``: negated."""
    found = []
    for slot, text in slots.items():
        for half, names in enumerate(text.split()):
            found.append(Into(slot, tuple(names.removeprefix("-").split("|")), 32 * half, names.startswith("-")))
    return tuple(found)


# If a host's kernel lacks an event, the table lacks it; a missing field is zero.
EVENTS = {
    "kvm_entry": _into(rip="rip", a="intr_info", b="error_code"),
    "kvm_exit": _into(
        reason="exit_reason", rip="guest_rip", info1="info1", info2="info2", a="intr_info", b="error_code", isa="isa"
    ),
    "kvm_userspace_exit": _into(reason="reason", a="-errno"),
    "kvm_page_fault": _into(rip="guest_rip", a="fault_address", b="error_code"),
    "kvm_msr": _into(a="ecx", b="data", info1="write", info2="exception"),
    "kvm_cpuid": _into(a="function", b="index", info1="rax rbx", info2="rcx rdx"),
    "kvm_cr": _into(a="cr", b="val", info1="rw"),
    "kvm_pio": _into(a="port", b="val", info1="rw", info2="size count"),
    "kvm_mmio": _into(a="gpa", b="val", info1="type", info2="len"),
    "kvm_fast_mmio": _into(a="gpa"),
    "kvm_emulate_insn": _into(rip="rip", a="len", b="failed", info1="flags", info2="csbase"),
    "kvm_hypercall": _into(a="nr", b="a0", info1="a1", info2="a2"),
    "kvm_inj_virq": _into(a="vector|irq", b="soft", info1="reinjected"),
    "kvm_inj_exception": _into(a="exception", b="error_code", info1="has_error", info2="reinjected"),
    "kvm_apic_accept_irq": _into(a="vec", b="apicid", info1="dm", info2="tm"),
    "kvm_apic_ipi": _into(a="icr_low", b="dest_id"),
    "kvm_eoi": _into(a="vector", b="apicid"),
    "kvm_set_irq": _into(a="gsi", b="level", info1="irq_source_id"),
    "kvm_halt_poll_ns": _into(a="new", b="old", info1="grow"),
    "kvm_vcpu_wakeup": _into(a="ns", b="waited", info1="valid"),
}
# Essential: without these there is nothing to report about an exit.
NEEDED = ("kvm_entry", "kvm_exit", "kvm_userspace_exit")


def chosen(names: Collection[str]) -> tuple[str, ...]:
    """The events to record if a spec names ``names``, in the order of :data:`EVENTS`: the essential ones too; all if it
    names none."""
    return tuple(name for name in EVENTS if not names or name in names or name in NEEDED)
