"""KVM's tracepoints as a table: its columns; :mod:`vmspec.trace.events` has the events.

The C decoder, the Arrow schema and the documentation share this definition, as :mod:`vmspec.trace.record` for the
exits.
"""

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
