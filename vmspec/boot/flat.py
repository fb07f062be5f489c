"""Flat guests: machine code at an address, started in real, protected or long mode."""

from vmspec import layout
from vmspec.plan import memory_map
from vmspec.plan.calls import Slot
from vmspec.plan.plan import Entry, Placement, Start
from vmspec.schema.problems import Problem
from vmspec.spec.models import Boot

# What each mode needs in memory beside the code, and the first address that it cannot reach: CS is 0 in real mode, the
# page tables map 4 GiB.
TABLES = {
    "real": (),
    "protected": (Placement("gdt", layout.GDT, layout.GDT_SIZE),),
    "long": (
        Placement("gdt", layout.GDT, layout.GDT_SIZE),
        Placement("page-tables", layout.PAGE_TABLES, layout.PAGE_TABLES_SIZE),
    ),
}
REACH = {"real": 1 << 16, "protected": 1 << 32, "long": layout.IDENTITY_END}


def start(boot: Boot, size: int, slots: tuple[Slot, ...], problems: list[Problem]) -> Start | None:
    """The start of a flat guest of ``size`` bytes, from the spec or from ``boot.kernel``.

    The stack begins at the load address and grows down, away from the code, unless the spec sets ``rsp``.
    """
    found = len(problems)
    for key, given in (("protocol", boot.protocol), ("initrd", boot.initrd), ("cmdline", boot.cmdline)):
        if given:
            problems.append(Problem(f"boot.{key}", "is for kernels; this guest is a flat image", str(given)))
    if boot.modules:
        problems.append(Problem("boot.modules", "are for kernels; this guest is a flat image"))
    if boot.mode not in TABLES:
        what = "boot.kernel" if boot.code is None else "boot.mode"
        message = "is not a known kernel; a flat image needs boot.mode" if boot.code is None else "must be given"
        where = str(boot.kernel) if boot.code is None else None
        problems.append(Problem(what, message, where, "real, protected, long"))
        return None
    load = layout.FLAT if boot.load is None else boot.load
    entry = load if boot.entry is None else boot.entry
    tables = TABLES[boot.mode]
    code = Placement("code", load, size, boot.kernel if boot.code is None else None)
    _place(boot, code, tables, slots, problems)
    if not 0 <= entry < REACH[boot.mode]:
        key = "boot.entry" if boot.entry is not None else "boot.load"
        problems.append(Problem(key, f"{boot.mode} mode starts below {REACH[boot.mode]:#x}", f"{entry:#x}"))
    elif boot.entry is not None and not memory_map.is_ram(slots, entry, 1):
        problems.append(Problem("boot.entry", f"is not RAM: {_extent(slots)}", f"{entry:#x}"))
    if len(problems) > found:
        return None
    registers = {"rsp": load, **boot.registers}
    # Bit 1 of RFLAGS is always set (Intel SDM volume 1, 3.4.3); KVM rejects a state without it.
    registers["rflags"] = registers.get("rflags", 0) | 2
    return Start("flat", "flat", Entry(boot.mode, entry, registers), (code, *tables))


def _place(
    boot: Boot, code: Placement, tables: tuple[Placement, ...], slots: tuple[Slot, ...], problems: list[Problem]
) -> None:
    end = code.address + code.size
    key = "boot.load" if boot.load is not None else "boot.code" if boot.code is not None else "boot.kernel"
    if code.address < 0 or not memory_map.is_ram(slots, code.address, code.size):
        where = f"{code.address:#x}-{end - 1:#x}"
        problems.append(Problem(key, f"the code does not lie in RAM: {_extent(slots)}", where))
        return
    for table in tables:
        if not memory_map.is_ram(slots, table.address, table.size):
            need = f"{boot.mode} mode needs RAM up to {table.address + table.size:#x} for its {table.name}"
            problems.append(Problem("vm.memory", need, f"{slots[0].size:#x}"))
        elif code.address < table.address + table.size and table.address < end:
            where = f"{table.address:#x}-{table.address + table.size - 1:#x}"
            here = f"{code.address:#x}-{end - 1:#x}"
            problems.append(Problem(key, f"the code overlaps the {table.name} at {where}", here))


def _extent(slots: tuple[Slot, ...]) -> str:
    return "RAM is " + " and ".join(f"{slot.start:#x}-{slot.start + slot.size - 1:#x}" for slot in slots)
