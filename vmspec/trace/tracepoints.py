"""KVM's tracepoints as a table: its columns, and which field of an event goes into which column.

The C decoder, the Arrow schema and the documentation share this definition, as :mod:`vmspec.trace.record` for the
exits.
"""

from typing import NamedTuple

from vmspec.trace import keys
from vmspec.trace.exit_codes import SVM, VMX
from vmspec.trace.record import REASONS
from vmspec.trace.table import Column, Former, Names, Table

NO_REASON, UNKNOWN = "-", "unknown"
# The names behind the codes of the column `exit`.
EXIT_NAMES = (NO_REASON, UNKNOWN, *sorted({*SVM.values(), *VMX.values(), *REASONS} - {UNKNOWN}))

COLUMNS = (
    Column("vcpu", "uint16", "", "index of the vCPU whose thread the event happened in"),
    Column("t", "int64", "ns", "when, since the machine started, on the clock of t_exit and t_entry"),
    Column("event", "int8", "", "the tracepoint's name, kvm_exit and others", Names(key=keys.EVENTS)),
    Column("host_cpu", "uint16", "", "processor of the host that the thread ran on"),
    Column("reason", "uint64", "hex", "kvm_exit: the processor's exit code; kvm_userspace_exit: KVM_EXIT_*; else 0"),
    Column(
        "exit",
        "int16",
        "",
        "name of the reason; unknown if it has none; - if the event has no reason",
        Names(EXIT_NAMES),
    ),
    Column("rip", "uint64", "address", "guest RIP if the event has it, else 0"),
    Column("info1", "uint64", "hex", "kvm_exit: EXITINFO1 (SVM), exit qualification (VMX); else see EVENTS"),
    Column("info2", "uint64", "hex", "kvm_exit: EXITINFO2 (SVM), interruption information (VMX); else see EVENTS"),
    Column("a", "uint64", "hex", "the event's first value: see EVENTS"),
    Column("b", "uint64", "hex", "the event's second value: see EVENTS"),
)
TRACEPOINTS = Table(
    "tracepoints",
    what="tracepoints",
    format="tracepoints-1",
    time="t",
    columns=COLUMNS,
    metadata=keys.kinds(keys.CLOCK),
    summary={"complete": "flag", "lost": "counts", "unknown": "count", "rows": "count", "isa": "code"},
    switch="trace.tracepoints",
    former=Former("kernel-1", {"vmrun.kernel.events": keys.EVENTS, "vmrun.kernel.formats": keys.EVENT_FORMATS}),
)
# Columns for an event's fields, in the order of enum perf_slot.
SLOTS = ("reason", "rip", "info1", "info2", "a", "b", "isa")


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
