"""What tracepoints were about, by name: MSRs, CPUID leaves, ports, memory, interrupts.

The fields are those of the kernel's tracepoints (arch/x86/kvm/trace.h), as ``vmspec.trace.tracepoints`` maps them.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tracer.analysis.tables import schema
from tracer.decode import name
from tracer.decode.cpuid import WITH_SUBLEAVES, leaf_name
from tracer.decode.msr import msr_name
from tracer.decode.register import READ, WRITE
from tracer.read.reader import Trace
from vmspec.trace.tracepoints import TRACEPOINTS

KEPT = 1 << 16  # different kinds that are counted separately; a guest can make any number
REGION = (1 << 21) - 1  # page faults are counted by 2 MiB
OTHERS = "(others)"
# Intel SDM volume 3, 6.15.
EXCEPTIONS = (
    *("#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "coprocessor segment", "#TS", "#NP", "#SS"),
    *("#GP", "#PF", "", "#MF", "#AC", "#MC", "#XM", "#VE", "#CP"),
)


class Detail(NamedTuple):
    """How an event is described: the columns that distinguish its kinds, and the meaning of its first two numbers:
    what, and the access (read, write or ""). ``mask`` are bits of the first that do not matter. ``only`` are the values
    of the first for which the second matters, None: all."""

    columns: tuple[str, ...]
    told: Callable[[int, int], tuple[str, str]]
    mask: int = 0
    only: frozenset[int] | None = None


def _named(reason: str, addr: int, access: str) -> str:
    known = name(reason, addr, 1, access)
    return f"{known} {addr:#x}" if known else f"{addr:#x}"


def _pio(port: int, written: int) -> tuple[str, str]:
    access = WRITE if written else READ  # KVM_PIO_OUT is 1
    return _named("io", port, access), access


def _mmio(address: int, kind: int) -> tuple[str, str]:
    access = WRITE if kind == 2 else READ  # KVM_TRACE_MMIO_WRITE; 0 is a read that the kernel did not answer
    return _named("mmio", address, access), access


def _cpuid(leaf: int, subleaf: int) -> tuple[str, str]:
    known = leaf_name(leaf, subleaf)
    return known if known == f"leaf {leaf:#x}" else f"{leaf:#x} {known}", ""


def _exception(vector: int, _: int) -> tuple[str, str]:
    known = EXCEPTIONS[vector] if vector < len(EXCEPTIONS) else ""
    return known or f"vector {vector:#x}", ""


DETAILS: Mapping[str, Detail] = {
    "kvm_msr": Detail(("a", "info1"), lambda index, written: (msr_name(index), WRITE if written else READ)),
    "kvm_cpuid": Detail(("a", "b"), _cpuid, only=WITH_SUBLEAVES),
    "kvm_cr": Detail(("a", "info1"), lambda number, written: (f"CR{number}", WRITE if written else READ)),
    "kvm_pio": Detail(("a", "info1"), _pio),
    "kvm_mmio": Detail(("a", "info1"), _mmio),
    "kvm_page_fault": Detail(("a",), lambda address, _: (f"{address:#x} to {address + REGION:#x}", ""), REGION),
    "kvm_inj_virq": Detail(("a",), lambda vector, _: (f"vector {vector:#x}", "")),
    "kvm_inj_exception": Detail(("a",), _exception),
    "kvm_apic_accept_irq": Detail(("a",), lambda vector, _: (f"vector {vector:#x}", "")),
    "kvm_eoi": Detail(("a",), lambda vector, _: (f"vector {vector:#x}", "")),
    "kvm_set_irq": Detail(("a", "b"), lambda gsi, level: (f"GSI {gsi} {'raised' if level else 'lowered'}", "")),
    "kvm_hypercall": Detail(("a",), lambda number, _: (name("hypercall", number), "")),
}
# Tracepoints that only the times and reasons of exits tell of, or whose numbers are not names of anything.
WITHOUT_DETAIL = frozenset(
    (
        *("kvm_entry", "kvm_exit", "kvm_userspace_exit", "kvm_fast_mmio", "kvm_emulate_insn", "kvm_apic_ipi"),
        *("kvm_halt_poll_ns", "kvm_vcpu_wakeup"),
    )
)


def details_schema() -> Any:
    """The schema of :func:`by_detail`."""
    return schema(
        (
            ("event", "string", "", "name of the tracepoint"),
            ("what", "string", "", "the MSR, CPUID leaf, register, port, address or vector; (others): the rest"),
            ("access", "string", "", "read, write or empty"),
            ("events", "int64", "", "number of events"),
        )
    )


def by_detail(trace: Trace) -> Any:
    """The events of :data:`DETAILS` by what they were about, most frequent first: a ``pyarrow.Table`` of
    :func:`details_schema`. Raises TraceError for a trace without tracepoints."""
    import pyarrow as pa

    counts: Counter[tuple[str, int, int]] = Counter()
    others: Counter[str] = Counter()
    for batch in trace.tables.need(TRACEPOINTS.name).batches(["event", "info1", "a", "b"]):
        for event, detail in DETAILS.items():
            counts.update(_counted(batch, event, detail))
        if len(counts) > KEPT:
            kept = counts.most_common(KEPT // 2)
            others.update(_by_event(counts))
            others.subtract(_by_event(dict(kept)))
            counts = Counter(dict(kept))
    told: Counter[tuple[str, str, str]] = Counter()  # different numbers may have the same description
    for (event, first, second), count in counts.items():
        told[event, *DETAILS[event].told(first, second)] += count
    told.update({(event, OTHERS, ""): count for event, count in others.items() if count})
    rows = sorted(((*key, count) for key, count in told.items()), key=lambda row: (-row[3], row[:3]))
    columns = zip(*rows, strict=True) if rows else ((), (), (), ())
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, details_schema(), strict=True)],
                    schema=details_schema())  # fmt: skip


def _by_event(counts: Mapping[tuple[str, int, int], int]) -> Counter[str]:
    found: Counter[str] = Counter()
    for (event, *_), count in counts.items():
        found[event] += count
    return found


def _counted(batch: Any, event: str, detail: Detail) -> dict[tuple[str, int, int], int]:
    import pyarrow as pa
    import pyarrow.compute as pc

    code = pc.index(batch["event"].dictionary, event).as_py()
    if code < 0:
        return {}
    rows = batch.filter(pc.equal(batch["event"].indices, pa.scalar(code, batch["event"].indices.type)))
    if not rows.num_rows:
        return {}
    first, *rest = (rows[column] for column in detail.columns)
    if detail.mask:
        first = pc.bit_wise_and(first, pa.scalar((1 << 64) - 1 ^ detail.mask, pa.uint64()))
    second = rest[0] if rest else pa.repeat(pa.scalar(0, pa.uint64()), rows.num_rows)
    if detail.only is not None:
        matters = pc.is_in(first, pa.array(detail.only, pa.uint64()))
        second = pc.if_else(matters, second, pa.scalar(0, pa.uint64()))
    done = pa.table({"first": first, "second": second, "one": second}).group_by(["first", "second"])
    found = done.aggregate([("one", "count")])
    keys = zip(found["first"].to_pylist(), found["second"].to_pylist(), strict=True)
    return {(event, *key): count for key, count in zip(keys, found["one_count"].to_pylist(), strict=True)}
