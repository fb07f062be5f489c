"""What a kernel gets from its loader by PVH or Multiboot 1 and 2 (vmspec/registers/bootinfo.py has the structures)."""

from struct import calcsize, pack

from runner.boot import acpi
from vmspec import layout
from vmspec.boot.information import padded
from vmspec.plan.plan import Placement, Plan
from vmspec.registers import bootinfo as B


def build(plan: Plan, address: int) -> bytes:
    """The information for a plan's kernel, which is put at ``address``."""
    modules = [placement for placement in plan.placements if placement.name == "module"]
    lines = [line.encode("utf-8", "replace") + b"\0" for line in plan.modules]
    match plan.protocol:
        case "pvh":
            return _pvh(plan, address, modules, lines)
        case "multiboot":
            return _multiboot1(plan, address, modules, lines)
        case _:
            return _multiboot2(plan, modules, lines)


def _pvh(plan: Plan, address: int, modules: list[Placement], lines: list[bytes]) -> bytes:
    listed = address + calcsize(B.START_INFO)
    mapped = listed + calcsize(B.PVH_MODULE) * len(modules)
    texts = mapped + calcsize(B.PVH_MEMORY) * len(plan.e820)
    rsdp = plan.placement("acpi")
    places = (listed, layout.CMDLINE, rsdp.address if rsdp else 0, mapped)
    data = pack(B.START_INFO, B.PVH_MAGIC, B.PVH_VERSION, 0, len(modules), *places, len(plan.e820), 0)
    for module, text in zip(modules, _places(texts, lines), strict=True):
        data += pack(B.PVH_MODULE, module.address, module.size, text, 0)
    data += b"".join(pack(B.PVH_MEMORY, *entry, 0) for entry in plan.e820)
    return data + b"".join(lines)


def _multiboot1(plan: Plan, address: int, modules: list[Placement], lines: list[bytes]) -> bytes:
    listed = address + calcsize(B.INFO1)
    mapped = listed + calcsize(B.MODULE1) * len(modules)
    size = calcsize(B.MEMORY1) * len(plan.e820)
    name = mapped + size
    texts = name + len(B.LOADER_NAME) + 1
    flags = B.HAS_MEMORY | B.HAS_CMDLINE | B.HAS_MODULES | B.HAS_MAP | B.HAS_LOADER
    boot_device = apm = 0
    symbols, drives = (0, 0, 0, 0), (0, 0, 0)
    words = (flags, *_basic(plan), boot_device, layout.CMDLINE, len(modules), listed, *symbols, size, mapped)
    data = pack(B.INFO1, *words, *drives, name, apm)
    for module, text in zip(modules, _places(texts, lines), strict=True):
        data += pack(B.MODULE1, module.address, module.address + module.size, text, 0)
    data += b"".join(pack(B.MEMORY1, calcsize(B.MEMORY1) - 4, *entry) for entry in plan.e820)
    return data + B.LOADER_NAME + b"\0" + b"".join(lines)


def _multiboot2(plan: Plan, modules: list[Placement], lines: list[bytes]) -> bytes:
    tags = [
        (B.CMDLINE, plan.cmdline.encode("utf-8", "replace") + b"\0"),
        (B.LOADER, B.LOADER_NAME + b"\0"),
        (B.MEMORY, pack(B.BASIC2, *_basic(plan))),
        (B.MAP, pack(B.MAP2, calcsize(B.MEMORY2), 0) + b"".join(pack(B.MEMORY2, *entry, 0) for entry in plan.e820)),
    ]
    for module, line in zip(modules, lines, strict=True):
        tags.append((B.MODULE, pack(B.MODULE2, module.address, module.address + module.size) + line))
    if (table := plan.placement("acpi")) is not None:
        tags.append((B.RSDP2, acpi.build(table.address, plan)[: B.RSDP_SIZE]))
    data = b""
    for kind, body in (*tags, (B.END, b"")):
        data += (pack(B.TAG2, kind, calcsize(B.TAG2) + len(body)) + body).ljust(
            padded(calcsize(B.TAG2) + len(body)), b"\0"
        )
    return pack(B.INFO2, calcsize(B.INFO2) + len(data), 0) + data


def _basic(plan: Plan) -> tuple[int, int]:
    """KiB of RAM below 1 MiB, and of the RAM that begins there."""
    return layout.EBDA >> 10, (plan.slots[0].size - layout.HIGH_MEMORY) >> 10


def _places(address: int, lines: list[bytes]) -> list[int]:
    """Where texts lie that begin at an address, one after the other."""
    return [address + sum(map(len, lines[:index])) for index in range(len(lines))]
