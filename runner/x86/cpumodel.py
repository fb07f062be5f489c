"""CPU models on a host: what of one it lacks."""

from collections.abc import Iterable

from runner.x86.cpuid import SIGNIFICANT_INDEX, CpuidEntry
from vmspec.plan import cpu_model
from vmspec.plan.settings import PlannedCPU
from vmspec.registers import cpuid as R
from vmspec.schema.cpuid_leaves import Answer, Leaf, Table, table


def leaves(entries: Iterable[CpuidEntry]) -> Table:
    """CPUID as a table."""
    return table(
        (Leaf(entry.function, entry.subleaf if entry.flags & SIGNIFICANT_INDEX else None), Answer(*entry[3:]))
        for entry in entries
    )


def lacks(cpu: PlannedCPU, supported: Iterable[CpuidEntry]) -> list[str]:
    """What a model has that KVM does not support on the host, each in words."""
    own = (R.VENDOR, R.EXTENDED) if cpu.own else ()  # their names of the vendor
    model: Table = {
        Leaf(leaf.function, leaf.subleaf): Answer(*leaf[2:]) for leaf in cpu.leaves if leaf.function not in own
    }
    return [*cpu_model.lacking(model, leaves(supported))]
