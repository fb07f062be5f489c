"""CPUID leaves by number (Intel SDM volume 2, CPUID; AMD64 APM volume 3, appendix E; KVM's and Hyper-V's own).

KVM answers CPUID itself, so no row of a trace is a CPUID; the names are for tracepoints.
"""

from collections.abc import Mapping

LEAVES: Mapping[int, str] = {
    0x00: "vendor, highest leaf",
    0x01: "version, features",
    0x02: "caches and TLBs by descriptor",
    0x03: "serial number",
    0x04: "caches",
    0x05: "MONITOR/MWAIT",
    0x06: "thermal and power",
    0x07: "structured extended features",
    0x09: "direct cache access",
    0x0A: "performance monitoring",
    0x0B: "topology",
    0x0D: "XSAVE state",
    0x0F: "RDT monitoring",
    0x10: "RDT allocation",
    0x12: "SGX",
    0x14: "processor trace",
    0x15: "TSC and crystal clock",
    0x16: "processor frequency",
    0x17: "SoC vendor",
    0x18: "address translation",
    0x19: "key locker",
    0x1A: "hybrid",
    0x1B: "PCONFIG",
    0x1C: "last branch records",
    0x1D: "tile information",
    0x1E: "TMUL",
    0x1F: "topology, v2",
    0x20: "history reset",
    0x23: "performance monitoring, extended",
    0x24: "AVX10",
    0x40000000: "hypervisor signature",
    0x40000001: "hypervisor features (KVM)",
    0x40000010: "hypervisor timing",
    0x80000000: "highest extended leaf",
    0x80000001: "extended features",
    0x80000002: "brand string 1",
    0x80000003: "brand string 2",
    0x80000004: "brand string 3",
    0x80000005: "L1 caches and TLBs (AMD)",
    0x80000006: "L2 and L3 caches",
    0x80000007: "power management, invariant TSC",
    0x80000008: "address sizes",
    0x8000000A: "SVM",
    0x80000019: "TLBs of 1 GiB pages (AMD)",
    0x8000001A: "performance optimisation (AMD)",
    0x8000001B: "instruction-based sampling (AMD)",
    0x8000001C: "lightweight profiling (AMD)",
    0x8000001D: "caches (AMD)",
    0x8000001E: "topology (AMD)",
    0x8000001F: "memory encryption (AMD)",
    0x80000020: "platform QoS (AMD)",
    0x80000021: "extended features 2 (AMD)",
    0x80000022: "performance monitoring, extended (AMD)",
    0x80000026: "topology, extended (AMD)",
}
# Leaves for which ECX selects a sub-leaf (SDM volume 2, CPUID; APM volume 3, appendix E; the kernel's
# cpuid_function_is_indexed in arch/x86/kvm/cpuid.c). For the others, the guest's ECX means nothing.
WITH_SUBLEAVES = frozenset(
    (
        *(0x04, 0x07, 0x0B, 0x0D, 0x0F, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1B, 0x1D, 0x1E, 0x1F, 0x20, 0x23, 0x24),
        *(0x8000001D, 0x80000020, 0x80000026),
    )
)
# Subleaves of 0x0d: the state components (SDM volume 1, 13.1).
_XSAVE = {
    0: "XCR0",
    1: "XSAVE features",
    2: "AVX",
    5: "opmask",
    6: "ZMM_Hi256",
    7: "Hi16_ZMM",
    9: "PKRU",
    17: "AMX configuration",
    18: "AMX tiles",
}


def leaf_name(leaf: int, subleaf: int = 0) -> str:
    """The name of a leaf, "leaf 0x..." if unknown."""
    subleaf = subleaf if leaf in WITH_SUBLEAVES else 0
    name = LEAVES.get(leaf, f"leaf {leaf:#x}")
    if leaf == 0x0D and subleaf:
        return f"{name}: {_XSAVE.get(subleaf, f'component {subleaf}')}"
    return f"{name}, {subleaf}" if subleaf else name
