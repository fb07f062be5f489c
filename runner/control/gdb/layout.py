"""The registers that the client sees: their names and order, and where each is in the vCPU.

The names are those of gdb's standard features (gdb manual, G.5.6 i386 Features). The feature ``org.vmrun.x86.system``
has what only code at privilege level 0 changes.
"""

from typing import NamedTuple

from runner.kvm.registerfile import Place

CORE, SSE, LINUX = "org.gnu.gdb.i386.core", "org.gnu.gdb.i386.sse", "org.gnu.gdb.i386.linux"
SEGMENTS, SYSTEM = "org.gnu.gdb.i386.segments", "org.vmrun.x86.system"
KERNEL_GS_BASE = 0xC0000102  # MSR (AMD64 APM volume 2, 4.5.3)
SELECTORS = ("cs", "ss", "ds", "es", "fs", "gs")
WIDE, NARROW = ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp"), ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di")


class Register(NamedTuple):
    """A register: its size and type for gdb, and its place. ``place`` None: it has no value."""

    name: str
    bits: int
    kind: str
    feature: str
    place: Place | None


def registers(wide: bool) -> tuple[Register, ...]:
    """The registers in the client's order; ``wide``: those of 64-bit code."""
    bits, prefix = (64, "r") if wide else (32, "e")
    number = f"int{bits}"
    found = [
        Register(
            f"{prefix}{name}", bits, "data_ptr" if name in ("bp", "sp") else number, CORE, Place("general", f"r{name}")
        )
        for name in (WIDE if wide else NARROW)
    ]
    found += [Register(f"r{n}", bits, number, CORE, Place("general", f"r{n}")) for n in range(8, 16 if wide else 8)]
    found += [
        Register(f"{prefix}ip", bits, "code_ptr", CORE, Place("general", "rip")),
        Register("eflags", 32, "i386_eflags", CORE, Place("general", "rflags")),
        *(Register(name, 32, "int32", CORE, Place("selector", name)) for name in SELECTORS),
        *(Register(f"st{n}", 80, "i387_ext", CORE, Place("fxsave", at=32 + 16 * n, size=10)) for n in range(8)),
        Register("fctrl", 32, "int", CORE, Place("fxsave", at=0, size=2)),
        Register("fstat", 32, "int", CORE, Place("fxsave", at=2, size=2)),
        Register("ftag", 32, "int", CORE, Place("tags")),
        Register("fiseg", 32, "int", CORE, Place("fxsave", at=12, size=2)),
        Register("fioff", 32, "int", CORE, Place("fxsave", at=8, size=4)),
        Register("foseg", 32, "int", CORE, Place("fxsave", at=20, size=2)),
        Register("fooff", 32, "int", CORE, Place("fxsave", at=16, size=4)),
        Register("fop", 32, "int", CORE, Place("fxsave", at=6, size=2)),
        *(
            Register(f"xmm{n}", 128, "vec128", SSE, Place("fxsave", at=160 + 16 * n, size=16))
            for n in range(16 if wide else 8)
        ),
        Register("mxcsr", 32, "i386_mxcsr", SSE, Place("fxsave", at=24, size=4)),
        Register(f"orig_{prefix}ax", bits, number, LINUX, None),
    ]
    if wide:
        found += [Register(f"{name}_base", 64, "int64", SEGMENTS, Place("base", name)) for name in ("fs", "gs")]
        found += [Register("k_gs_base", 64, "int64", SYSTEM, Place("msr", at=KERNEL_GS_BASE))]
    bases = SELECTORS[:4] if wide else SELECTORS
    found += [Register(f"{name}_base", bits, number, SYSTEM, Place("base", name)) for name in bases]
    found += [Register(f"{name}_limit", 32, "int32", SYSTEM, Place("limit", name)) for name in SELECTORS]
    found += [
        *(
            Register(name, bits, f"x86_{name}" if name in FLAGS else number, SYSTEM, Place("system", name))
            for name in ("cr0", "cr2", "cr3", "cr4", "cr8", "efer")
        ),
        *(Register(f"{name}_base", bits, number, SYSTEM, Place("table", name)) for name in ("gdt", "idt")),
        *(Register(f"{name}_limit", 32, "int32", SYSTEM, Place("table", name, at=1)) for name in ("gdt", "idt")),
        Register("tr", 32, "int32", SYSTEM, Place("selector", "tr")),
        Register("tr_base", bits, number, SYSTEM, Place("base", "tr")),
        Register("ldt", 32, "int32", SYSTEM, Place("selector", "ldt")),
        Register("ldt_base", bits, number, SYSTEM, Place("base", "ldt")),
    ]
    return tuple(found)


# Bits by name, the lowest first (Intel SDM volume 3, 2.5; volume 1, 3.4.3 and 10.2.3; AMD64 APM volume 2, 3.1.7).
FLAGS = {
    "cr0": {"PE": 0, "MP": 1, "EM": 2, "TS": 3, "ET": 4, "NE": 5, "WP": 16, "AM": 18, "NW": 29, "CD": 30, "PG": 31},
    "cr4": {
        "VME": 0, "PVI": 1, "TSD": 2, "DE": 3, "PSE": 4, "PAE": 5, "MCE": 6, "PGE": 7, "PCE": 8, "OSFXSR": 9,
        "OSXMMEXCPT": 10, "UMIP": 11, "LA57": 12, "VMXE": 13, "SMXE": 14, "FSGSBASE": 16, "PCIDE": 17, "OSXSAVE": 18,
        "SMEP": 20, "SMAP": 21, "PKE": 22,
    },
    "efer": {"SCE": 0, "LME": 8, "LMA": 10, "NXE": 11, "SVME": 12, "LMSLE": 13, "FFXSR": 14, "TCE": 15},
}  # fmt: skip
EFLAGS = {
    "CF": 0, "": 1, "PF": 2, "AF": 4, "ZF": 6, "SF": 7, "TF": 8, "IF": 9, "DF": 10, "OF": 11, "NT": 14, "RF": 16,
    "VM": 17, "AC": 18, "VIF": 19, "VIP": 20, "ID": 21,
}  # fmt: skip
MXCSR = {
    "IE": 0, "DE": 1, "ZE": 2, "OE": 3, "UE": 4, "PE": 5, "DAZ": 6, "IM": 7, "DM": 8, "ZM": 9, "OM": 10, "UM": 11,
    "PM": 12, "FZ": 15,
}  # fmt: skip
