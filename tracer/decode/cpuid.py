"""CPUID leaves by number (Intel SDM volume 2, CPUID; AMD64 APM volume 3, appendix E; KVM's and Hyper-V's own).

KVM answers CPUID itself, so no row of a trace is a CPUID; the names are for tracepoints.
"""

from collections.abc import Mapping

from vmspec.registers import cpuid as R

LEAVES: Mapping[int, str] = {
    R.VENDOR: "vendor, highest leaf",
    R.VERSION: "version, features",
    0x02: "caches and TLBs by descriptor",
    0x03: "serial number",
    R.CACHES: "caches",
    0x05: "MONITOR/MWAIT",
    0x06: "thermal and power",
    R.FEATURES: "structured extended features",
    0x09: "direct cache access",
    0x0A: "performance monitoring",
    R.TOPOLOGY: "topology",
    R.XSAVE: "XSAVE state",
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
    R.TOPOLOGY_V2: "topology, v2",
    0x20: "history reset",
    0x23: "performance monitoring, extended",
    0x24: "AVX10",
    0x40000000: "hypervisor signature",
    0x40000001: "hypervisor features (KVM)",
    0x40000010: "hypervisor timing",
    R.EXTENDED: "highest extended leaf",
    R.EXTENDED_FEATURES: "extended features",
    R.BRAND_1: "brand string 1",
    R.BRAND_2: "brand string 2",
    R.BRAND_3: "brand string 3",
    R.AMD_L1: "L1 caches and TLBs (AMD)",
    R.L2: "L2 and L3 caches",
    R.POWER: "power management, invariant TSC",
    R.ADDRESS_SIZES: "address sizes",
    R.SVM: "SVM",
    0x80000019: "TLBs of 1 GiB pages (AMD)",
    0x8000001A: "performance optimisation (AMD)",
    0x8000001B: "instruction-based sampling (AMD)",
    0x8000001C: "lightweight profiling (AMD)",
    R.AMD_CACHES: "caches (AMD)",
    R.AMD_TOPOLOGY: "topology (AMD)",
    0x8000001F: "memory encryption (AMD)",
    0x80000020: "platform QoS (AMD)",
    0x80000021: "extended features 2 (AMD)",
    0x80000022: "performance monitoring, extended (AMD)",
    R.AMD_TOPOLOGY_V2: "topology, extended (AMD)",
}
# Leaves for which ECX selects a sub-leaf (SDM volume 2, CPUID; APM volume 3, appendix E; the kernel's
# cpuid_function_is_indexed in arch/x86/kvm/cpuid.c). For the others, the guest's ECX means nothing.
WITH_SUBLEAVES = frozenset(
    (
        *(R.CACHES, R.FEATURES, R.TOPOLOGY, R.XSAVE, R.TOPOLOGY_V2, R.AMD_CACHES, R.AMD_TOPOLOGY_V2),
        *(0x0F, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1B, 0x1D, 0x1E, 0x20, 0x23, 0x24, 0x80000020),
    )
)
# Subleaves of XSAVE: the state components (SDM volume 1, 13.1).
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
    if leaf == R.XSAVE and subleaf:
        return f"{name}: {_XSAVE.get(subleaf, f'component {subleaf}')}"
    return f"{name}, {subleaf}" if subleaf else name
