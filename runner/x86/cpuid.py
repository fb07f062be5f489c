"""Each vCPU's CPUID: KVM's supported entries or a CPU model's, minus what the spec removes, with its own topology.

All vCPUs are cores of one socket, one thread each, with APIC ids from 0 (Intel SDM volume 2, CPUID, and volume 3, 9.9;
AMD APM volume 3, appendix E). Pure: no KVM here.
"""

from collections.abc import Callable
from typing import NamedTuple

from vmspec.plan.features import FEATURES
from vmspec.plan.settings import PlannedCPU, PlannedLeaf
from vmspec.registers import cpuid as R

SIGNIFICANT_INDEX = 1 << 0  # KVM_CPUID_FLAG_SIGNIFCANT_INDEX: the entry is for its index only
AMD = (0x68747541, 0x6F677948)  # EBX of leaf 0: "Auth", "Hygo"

TSC_DEADLINE = 1 << FEATURES["tsc_deadline_timer"].bit  # ECX of VERSION
HYPERVISOR = 1 << FEATURES["hypervisor"].bit  # the same
# Bits that KVM leaves to the VMM, and no spec removes
HTT = 1 << 28  # EDX of VERSION: the package has more than one logical processor
CMP_LEGACY = 1 << 1  # ECX of EXTENDED_FEATURES, AMD: they are cores, not threads

# Leaves that list the levels of the topology. AMD's own form, AMD_TOPOLOGY_V2, is left out in favour of the common one.
TOPOLOGY = (R.TOPOLOGY, R.TOPOLOGY_V2)
LEVEL_THREAD, LEVEL_CORE = 1, 2

# What a guest shows of its processor, if no newer leaf describes its caches: KVM supplies CACHES and AMD_CACHES.
DESCRIPTIVE = (R.BRAND_1, R.BRAND_2, R.BRAND_3, R.AMD_L1, R.L2)


class CpuidEntry(NamedTuple):
    """struct kvm_cpuid_entry2: CPUID's answer for EAX = ``function``, and ECX = ``subleaf`` if the flags say so."""

    function: int
    subleaf: int  # named index in the kernel
    flags: int
    eax: int
    ebx: int
    ecx: int
    edx: int


def address_bits(supported: list[CpuidEntry]) -> int | None:
    """The width of physical addresses; None: CPUID does not say (Intel SDM volume 2, CPUID, leaf 80000008H)."""
    return next((entry.eax & 0xFF for entry in supported if entry.function == R.ADDRESS_SIZES), None) or None


def completed(supported: list[CpuidEntry], host: Callable[[int], tuple[int, int, int, int]]) -> list[CpuidEntry]:
    """KVM's supported entries plus the descriptive leaves that it leaves out; ``host`` is the host's CPUID.

    Without them a guest's processor has no name and, if no other leaf describes them, no caches.
    """
    entries = list(supported)
    highest = max((entry.eax for entry in supported if entry.function == R.EXTENDED), default=0)
    for function in DESCRIPTIVE:
        place = next((at for at, entry in enumerate(entries) if entry.function == function), len(entries))
        if function <= highest and not any(any(entry[3:]) for entry in entries[place : place + 1]):
            entries[place : place + 1] = [CpuidEntry(function, 0, 0, *host(function))]
    return entries


def for_vcpu(
    supported: list[CpuidEntry], vcpu: int, vcpus: int, cpu: PlannedCPU, *, tsc_deadline: bool
) -> list[CpuidEntry]:
    """The entries for vCPU ``vcpu`` of ``vcpus``; ``tsc_deadline``: the host has KVM_CAP_TSC_DEADLINE_TIMER."""
    if cpu.leaves:
        supported = [modelled(leaf) for leaf in cpu.leaves]
    if cpu.vendor is not None:
        supported = [_sold(entry, cpu.vendor.encode()) for entry in supported]
    leaf0 = next((entry for entry in supported if entry.function == R.VENDOR), None)
    highest = leaf0.eax if leaf0 else 0
    amd = leaf0 is not None and leaf0.ebx in AMD
    entries = [
        _disabled(_placed(entry, vcpu, vcpus, amd, tsc_deadline), cpu.disable)
        for entry in supported
        if entry.function not in (*TOPOLOGY, R.AMD_TOPOLOGY_V2)
    ]
    for function in TOPOLOGY:
        if function <= highest:
            entries += _levels(function, vcpu, vcpus)
    return entries


def modelled(leaf: PlannedLeaf) -> CpuidEntry:
    """The entry for a leaf of a CPU model."""
    function, subleaf, *registers = leaf
    return CpuidEntry(function, subleaf or 0, 0 if subleaf is None else SIGNIFICANT_INDEX, *registers)


def _sold(entry: CpuidEntry, vendor: bytes) -> CpuidEntry:
    """An entry with this vendor, if it is one of the two that have it."""
    if entry.function not in (R.VENDOR, R.EXTENDED):
        return entry
    ebx, edx, ecx = (int.from_bytes(vendor[at : at + 4], "little") for at in (0, 4, 8))
    return entry._replace(ebx=ebx, edx=edx, ecx=ecx)


def _placed(entry: CpuidEntry, vcpu: int, vcpus: int, amd: bool, tsc_deadline: bool) -> CpuidEntry:
    """An entry with the values that depend on the vCPU and on the number of vCPUs."""
    bits = (vcpus - 1).bit_length()  # bits of the APIC id that distinguish cores
    many = vcpus > 1
    match entry.function:
        case R.VERSION:
            # EBX: initial APIC id, ids in the package (a power of two).
            ebx = entry.ebx & 0xFFFF | vcpu << 24 | min(1 << bits, 255) << 16
            ecx = entry.ecx & ~TSC_DEADLINE | HYPERVISOR | (TSC_DEADLINE if tsc_deadline else 0)
            return entry._replace(ebx=ebx, ecx=ecx, edx=entry.edx & ~HTT | (HTT if many else 0))
        case R.CACHES if entry.eax & 0x1F:
            # EAX: 31-26 cores in the package less 1, 25-14 ids that share the cache less 1.
            cores = min((1 << bits) - 1, 63)
            return entry._replace(eax=entry.eax & 0x3FFF | cores << 26 | _sharing(entry, bits) << 14)
        case R.AMD_CACHES if entry.eax & 0x1F:
            return entry._replace(eax=entry.eax & ~(0xFFF << 14) | _sharing(entry, bits) << 14)
        case R.EXTENDED_FEATURES if amd:
            return entry._replace(ecx=entry.ecx & ~CMP_LEGACY | (CMP_LEGACY if many else 0))
        case R.ADDRESS_SIZES if amd:
            # ECX: 15-12 bits of the APIC id for the core, 7-0 cores less 1.
            return entry._replace(ecx=entry.ecx & ~0xF0FF | bits << 12 | vcpus - 1)
        case R.AMD_TOPOLOGY if amd:
            # APIC id; core id, one thread in each; node 0, one node.
            return entry._replace(eax=vcpu, ebx=vcpu, ecx=0, edx=0)
        case _:
            return entry


def _sharing(entry: CpuidEntry, bits: int) -> int:
    """Number of ids that share a cache, less 1. A core has its own levels 1 and 2; the package shares the next."""
    return 0 if (entry.eax >> 5 & 7) < 3 else (1 << bits) - 1


def _levels(function: int, vcpu: int, vcpus: int) -> list[CpuidEntry]:
    """The extended topology: EAX: bits of the id below the next level, EBX: processors, ECX: level and its type."""
    bits = (vcpus - 1).bit_length()

    def level(index: int, kind: int, shift: int, count: int) -> CpuidEntry:
        return CpuidEntry(function, index, SIGNIFICANT_INDEX, shift, count, kind << 8 | index, vcpu)

    return [level(0, LEVEL_THREAD, 0, 1), level(1, LEVEL_CORE, bits, vcpus), level(2, 0, 0, 0)]


def _disabled(entry: CpuidEntry, names: tuple[str, ...]) -> CpuidEntry:
    for name in names:
        bit = FEATURES[name]
        if (entry.function, entry.subleaf) == (bit.function, bit.leaf_index):
            entry = entry._replace(**{bit.register: getattr(entry, bit.register) & ~(1 << bit.bit)})
    return entry
