"""CPU features by their /proc/cpuinfo names, with their CPUID bits (Intel SDM volume 2, CPUID; AMD APM volume 3,
appendix E). Only those that a spec may remove: bits that KVM sets by itself, such as apic, are not here."""

from typing import NamedTuple

from vmspec.registers import cpuid as R
from vmspec.schema.problems import Problem


class Bit(NamedTuple):
    """One bit of a CPUID leaf: function (EAX), index (ECX), register, bit number."""

    function: int
    leaf_index: int
    register: str
    bit: int


# (function, index, register): the names of its bits
_LEAVES: dict[tuple[int, int, str], dict[int, str]] = {
    (R.VERSION, 0, "edx"): {
        0: "fpu", 1: "vme", 2: "de", 3: "pse", 4: "tsc", 5: "msr", 6: "pae", 7: "mce", 8: "cx8", 11: "sep", 12: "mtrr",
        13: "pge", 14: "mca", 15: "cmov", 16: "pat", 17: "pse36", 18: "pn", 19: "clflush", 21: "dts", 22: "acpi",
        23: "mmx", 24: "fxsr", 25: "sse", 26: "sse2", 27: "ss", 29: "tm", 31: "pbe",
    },
    (R.VERSION, 0, "ecx"): {
        0: "pni", 1: "pclmulqdq", 2: "dtes64", 3: "monitor", 4: "ds_cpl", 5: "vmx", 6: "smx", 7: "est", 8: "tm2",
        9: "ssse3", 12: "fma", 13: "cx16", 14: "xtpr", 15: "pdcm", 17: "pcid", 18: "dca", 19: "sse4_1", 20: "sse4_2",
        21: "x2apic", 22: "movbe", 23: "popcnt", 24: "tsc_deadline_timer", 25: "aes", 26: "xsave", 28: "avx",
        29: "f16c", 30: "rdrand", 31: "hypervisor",
    },
    (R.FEATURES, 0, "ebx"): {
        0: "fsgsbase", 1: "tsc_adjust", 2: "sgx", 3: "bmi1", 4: "hle", 5: "avx2", 7: "smep", 8: "bmi2", 9: "erms",
        10: "invpcid", 11: "rtm", 12: "cqm", 14: "mpx", 15: "rdt_a", 16: "avx512f", 17: "avx512dq", 18: "rdseed",
        19: "adx", 20: "smap", 21: "avx512ifma", 23: "clflushopt", 24: "clwb", 25: "intel_pt", 26: "avx512pf",
        27: "avx512er", 28: "avx512cd", 29: "sha_ni", 30: "avx512bw", 31: "avx512vl",
    },
    (R.FEATURES, 0, "ecx"): {
        1: "avx512vbmi", 2: "umip", 3: "pku", 5: "waitpkg", 6: "avx512_vbmi2", 8: "gfni", 9: "vaes", 10: "vpclmulqdq",
        11: "avx512_vnni", 12: "avx512_bitalg", 13: "tme", 14: "avx512_vpopcntdq", 16: "la57", 22: "rdpid",
        24: "bus_lock_detect", 25: "cldemote", 27: "movdiri", 28: "movdir64b", 29: "enqcmd",
    },
    (R.FEATURES, 0, "edx"): {
        2: "avx512_4vnniw", 3: "avx512_4fmaps", 4: "fsrm", 8: "avx512_vp2intersect", 10: "md_clear",
        14: "serialize", 16: "tsxldtrk", 18: "pconfig", 19: "arch_lbr", 20: "ibt", 22: "amx_bf16", 23: "avx512_fp16",
        24: "amx_tile", 25: "amx_int8", 28: "flush_l1d", 29: "arch_capabilities",
    },
    (R.FEATURES, 1, "eax"): {
        4: "avx_vnni", 5: "avx512_bf16", 7: "cmpccxadd", 10: "fzrm", 11: "fsrs", 12: "fsrc", 17: "fred", 18: "lkgs",
        21: "amx_fp16", 23: "avx_ifma", 26: "lam",
    },
    (R.XSAVE, 1, "eax"): {0: "xsaveopt", 1: "xsavec", 2: "xgetbv1", 3: "xsaves"},
    (R.EXTENDED_FEATURES, 0, "edx"): {
        11: "syscall", 20: "nx", 22: "mmxext", 25: "fxsr_opt", 26: "pdpe1gb", 27: "rdtscp", 30: "3dnowext", 31: "3dnow",
    },
    (R.EXTENDED_FEATURES, 0, "ecx"): {
        0: "lahf_lm", 2: "svm", 3: "extapic", 4: "cr8_legacy", 5: "abm", 6: "sse4a", 7: "misalignsse",
        8: "3dnowprefetch", 9: "osvw", 10: "ibs", 11: "xop", 12: "skinit", 13: "wdt", 15: "lwp", 16: "fma4", 17: "tce",
        21: "tbm", 22: "topoext", 23: "perfctr_core", 24: "perfctr_nb", 26: "bpext", 28: "perfctr_llc", 29: "mwaitx",
    },
    (R.POWER, 0, "edx"): {8: "constant_tsc", 13: "aperfmperf"},
    (R.ADDRESS_SIZES, 0, "ebx"): {
        0: "clzero", 1: "irperf", 2: "xsaveerptr", 4: "rdpru", 9: "wbnoinvd", 12: "ibpb", 14: "ibrs", 15: "stibp",
        23: "amd_ppin", 24: "ssbd", 25: "virt_ssbd",
    },
    (R.SVM, 0, "edx"): {
        0: "npt", 1: "lbrv", 2: "svm_lock", 3: "nrip_save", 4: "tsc_scale", 5: "vmcb_clean", 6: "flushbyasid",
        7: "decodeassists", 10: "pausefilter", 12: "pfthreshold", 13: "avic", 15: "v_vmsave_vmload", 16: "vgif",
        18: "x2avic", 20: "v_spec_ctrl", 25: "vnmi",
    },
}  # fmt: skip

FEATURES = {name: Bit(*leaf, bit) for leaf, bits in _LEAVES.items() for bit, name in bits.items()}


def check(names: tuple[str, ...], problems: list[Problem]) -> None:
    """Report each name that is not a feature."""
    for index, name in enumerate(names):
        if name not in FEATURES:
            import difflib  # only for a wrong name: it takes milliseconds

            close = difflib.get_close_matches(name, FEATURES, 1)
            message = "is not a CPU feature's name in /proc/cpuinfo"
            nearest = close[0] if close else None
            problems.append(Problem(f"cpu.disable[{index}]", message, name, None, nearest))
