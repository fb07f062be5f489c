"""The plan for people: text as wide as the terminal."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from vmspec.devices.regions import Region
from vmspec.host.printable import printable
from vmspec.host.wrapping import USUAL, wrapped
from vmspec.plan import calls
from vmspec.plan.calls import Call
from vmspec.plan.plan import Placement, Plan, PlannedDevice
from vmspec.registers import pci
from vmspec.schema.units import format_duration, format_size

INDENT = 2  # of the lines below a title

PROSE = ("Command line", "CPUID", "Notes")

E820_TYPES = {1: "usable", 2: "reserved", 3: "ACPI data"}
PROTOCOLS = {
    "flat": "a flat image",
    "linux64": "Linux, 64-bit boot protocol",
    "linux32": "Linux, 32-bit boot protocol",
    "elf64": "Linux, 64-bit boot protocol, the ELF entered directly",
    "pvh": "PVH, the 32-bit entry in Xen's notes",
    "multiboot": "Multiboot",
    "multiboot2": "Multiboot 2",
    "firmware": "begins as after reset",
}


def text(plan: Plan, width: int | None = None) -> str:
    """The plan as ``vmspec plan`` prints it, for a terminal of that many columns. None: prose has 100 of them, and
    tables their own width."""
    sections = {
        "Machine": _machine(plan),
        "Guest-physical map": _table(
            ((_span(part.start, part.size), format_size(part.size), part.kind, part.name) for part in plan.areas),
            right=(1,),
        ),
        "Memory map for the guest (e820)": _table(
            (
                (_span(part.start, part.size), format_size(part.size), E820_TYPES.get(part.type, str(part.type)))
                for part in plan.e820
            ),
            right=(1,),
        ),
        "Placements": _placements(plan, plan.placements),
        "Offered to firmware (fw_cfg)": _placements(plan, plan.offered),
        "Files": _table((str(number), str(path)) for path, number in _files(plan).items()),
        "Devices": _devices(plan),
        "Command line": [plan.cmdline],
        "CPUID": [_cpuid(plan), *_leaves(plan)],
        "Entry": _entry(plan),
        "KVM calls": _table(
            ((str(number), *_call(call)) for number, call in enumerate(plan.calls, 1)),
            right=(0,),
        ),
        "Notes": list(plan.notes),
    }
    shown = {title: [line for line in lines if line] for title, lines in sections.items()}
    return "\n".join(
        f"{title}\n" + "".join(f"  {line}\n" for line in _fitted(title, lines, width))
        for title, lines in shown.items()
        if lines
    )


def _fitted(title: str, lines: Iterable[str], width: int | None) -> Iterator[str]:
    for line in lines:
        if title in PROSE:
            yield from wrapped(printable(line), (width or USUAL) - INDENT)
        elif width is not None and len(line) > width - INDENT:
            yield from wrapped(re.sub(r"(?<=\S) {3,}", "  ", line), width - INDENT, hang=2 * INDENT)
        else:
            yield line


def _machine(plan: Plan) -> list[str]:
    vm, virtual = plan.vm, plan.time.kind == "virtual"
    chips = [name for name, there in (("interrupt controllers", plan.irqchip), ("timer (PIT)", plan.pit)) if there]
    return _table(
        (
            ("name", vm.name),
            ("image", f"{plan.image}: {PROTOCOLS.get(plan.protocol, plan.protocol)}"),
            ("memory", format_size(vm.memory)),
            ("vCPUs", str(vm.vcpus)),
            ("in the kernel", ", ".join(chips) or "nothing"),
            ("time", f"virtual, {format_duration(plan.time.step)} for each exit" if virtual else "the host's"),
            ("recorded in", _recorded(plan)),
        )
    )


def _recorded(plan: Plan) -> str:
    path = plan.trace.path
    return "nothing (to record: trace.path, or vmrun --trace FILE)" if path is None else str(path)


def _placements(plan: Plan, parts: Iterable[Placement]) -> list[str]:
    rows = []
    files = _files(plan)
    for part in sorted(parts, key=lambda placement: placement.address):
        source = "" if part.path is None else f"file {files[part.path]} from {part.offset:#x}"
        zero = f"+{part.zero} zero" if part.zero else ""
        where = _span(part.address, part.size) if part.address or part in plan.placements else ""
        rows.append((where, str(part.size), zero, part.name, source))
    return _table(rows, right=(1, 2))


def _files(plan: Plan) -> dict[Path, int]:
    """The files that placements come from, numbered: a path can be long, and is printed once."""
    paths = dict.fromkeys(part.path for part in (*plan.placements, *plan.offered) if part.path)
    return {path: number for number, path in enumerate(paths, 1)}


def _devices(plan: Plan) -> list[str]:
    return _table(
        (str(number), device.name, _regions(device), _interrupt(device, plan))
        for number, device in enumerate(plan.devices)
    )


def _regions(device: PlannedDevice) -> str:
    bars = iter(device.bars)
    return ", ".join(_region(region, bars) for region in device.regions) or "no region"


def _region(region: Region, bars: Iterator[int]) -> str:
    if region.start is None:
        if (start := next(bars, None)) is not None:
            return f"BAR {_region(region._replace(start=start), bars)}"
        return f"{region.space} not mapped, {format_size(region.size)} ({region.name})"
    if region.space == "pci":
        return f"pci {region.start >> pci.BUS:02x}:{region.start >> pci.DEVICE & pci.DEVICES - 1:02x}.0"
    last = region.start + region.size - 1
    return f"{region.space} {region.start:#x}" + (f"-{last:#x}" if region.size > 1 else "")


def _interrupt(device: PlannedDevice, plan: Plan) -> str:
    if device.irq is None:
        return ""
    if plan.time.kind == "virtual":
        return f"IRQ {device.irq}"
    # ISA interrupts are wired one to one to the I/O APIC's pins.
    return f"IRQ {device.irq}, GSI {device.irq}" if plan.irqchip else f"IRQ {device.irq}, not connected"


def _cpuid(plan: Plan) -> str:
    cpu = plan.cpu
    model = next((file.path for file in plan.files if file.name == "cpu"), None)
    policy = "host: what KVM supports on the host" if model is None else f"{model.name}: {len(cpu.leaves)} leaves"
    if cpu.own:
        policy = f"virtual time's own: {len(cpu.leaves)} leaves, without clocks and random numbers"
    policy += f", as {cpu.vendor}" if cpu.vendor else ""
    return f"{policy}, less {', '.join(cpu.disable)}" if cpu.disable else policy


def _leaves(plan: Plan) -> Iterator[str]:
    """The table of virtual time, which is in no file."""
    for leaf in plan.cpu.leaves if plan.cpu.own else ():
        registers = (f"{name} {getattr(leaf, name):08x}" for name in ("eax", "ebx", "ecx", "edx"))
        yield f"leaf {leaf.function:#010x}: {' '.join(registers)}"


def _entry(plan: Plan) -> list[str]:
    entry = plan.entry
    rows = [("mode", entry.mode), ("rip", f"{entry.rip:#x}")]
    rows += [(name, f"{value:#x}") for name, value in entry.registers.items()]
    return _table(rows)


def _call(call: Call) -> tuple[str, ...]:
    match call:
        case calls.SetUserMemoryRegion(slot):
            what = f"slot {slot.slot}: {slot.start:#x}-{slot.start + slot.size - 1:#x}"
            what += f" {slot.path.name}" if slot.path else ""
            what += ", read-only" if slot.read_only else ""
        case calls.SetMsrFilter(allowed):
            what = "only " + ", ".join(
                f"{msrs.first:#x}" + (f"-{msrs.last:#x}" if msrs.last > msrs.first else "") for msrs in allowed
            )
        case calls.CreateVcpu(vcpu):
            what = f"vCPU {vcpu}, {vcpu:#x}"
        case _:
            what = ", ".join(_argument(name, getattr(call, name)) for name in call._fields)
    needs = "" if call.requires is None else f"{'if' if call.optional else 'needs'} {call.requires}"
    return call.ioctl, what, needs


def _argument(name: str, value: int) -> str:
    match name:
        case "vcpu":
            return f"vCPU {value}"
        case "address" | "flags":
            return f"{value:#x}"
        case _:
            return f"{name} {value}"


def _span(start: int, size: int) -> str:
    """First and last address."""
    return f"{start:#012x}-{start + size - 1:#012x}" if size else f"{start:#012x}"


def _table(rows: Iterable[tuple[str, ...]], right: tuple[int, ...] = ()) -> list[str]:
    """Rows in aligned columns; those in ``right`` are aligned to the right."""
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = (
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
            if width
        )
        lines.append("  ".join(cells).rstrip())
    return lines
