"""The plan: everything that a spec implies, decided before any KVM call.

The machine executes this same object, so ``vmspec plan`` prints what happens. Addresses are guest-physical, sizes
bytes.

The classes are named tuples: creating them takes a fifth of the time of attrs classes, in every start of the program.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from vmspec.devices.regions import Region
from vmspec.host.pathtext import to_text
from vmspec.image.source import Version
from vmspec.plan.calls import Call, Slot
from vmspec.plan.settings import (
    PlannedCPU,
    PlannedExpect,
    PlannedLock,
    PlannedMemory,
    PlannedTime,
    PlannedTrace,
    PlannedVM,
)
from vmspec.spec.fileuse import Named


class Area(NamedTuple):
    """A named part of the guest-physical map, for people: kind is ram, image, reserved, mmio or hole."""

    name: str
    kind: str
    start: int
    size: int


class E820(NamedTuple):
    """An entry of the memory map given to Linux: type 1 usable, 2 reserved, 3 ACPI."""

    start: int
    size: int
    type: int


class Placement(NamedTuple):
    """Where a loader puts something: ``name`` says what, ``size`` is its length; ``path`` and ``offset`` are its place
    in a file, if it comes from one. ``zero`` bytes more must be RAM and zero.

    Names: code, kernel (once for each segment), initrd, module (once for each), cmdline, boot_params (its setup header
    is at ``offset`` of ``path``), rng-seed, boot-information, gdt, page-tables, bda, acpi, mptable, firmware (the part
    of it below 1 MiB).
    """

    name: str
    address: int
    size: int
    path: Path | None = None
    offset: int = 0
    zero: int = 0


class Patch(NamedTuple):
    """Bytes of a loaded kernel that are replaced before it starts: those that are there, and as many others."""

    address: int
    old: bytes
    new: bytes


class HostEnd(NamedTuple):
    """Where a device or a port of it gets its input from and sends its output to: "stdin", "stdout", "none" or a path.
    ``key`` is what follows the device in the spec's keys, ``name`` the port's."""

    key: str
    name: str
    input: str | Path
    output: str | Path


class PlannedDevice(NamedTuple):
    """A device with its regions. Its index in ``Plan.devices`` is its code in the trace. ``options`` are the other keys
    of its table, with their defaults; paths are absolute, arrays lists."""

    name: str  # kind and number: serial0
    kind: str
    options: Mapping[str, Any]
    regions: tuple[Region, ...] = ()  # a region's index here is its number in the trace
    irq: int | None = None  # the GSI; below 16 that is the ISA interrupt
    transport: str | None = None  # of a virtio device: "mmio" or "pci"
    bars: tuple[int, ...] = ()  # of a PCI function: where the regions that it maps lie at power-on, in their order

    @property
    def ends(self) -> "tuple[HostEnd, ...]":
        """Its ends on the host: the device's own, then those of its ports."""
        tables = (self.options, *self.options.get("ports", ()))
        keys = ("", *(f".ports[{index}]" for index in range(len(tables) - 1)))
        return tuple(
            HostEnd(
                key, table.get("name", ""), table.get("input", "none"), table.get("output", "none" if key else "stdout")
            )
            for key, table in zip(keys, tables, strict=True)
        )


class Entry(NamedTuple):
    """The first vCPU's state: mode real, protected or long, and general registers by name. Registers that are not named
    are 0, rflags 2. Without an interrupt controller every vCPU starts here. Mode reset: as after RESET."""

    mode: str
    rip: int
    registers: dict[str, int]


class PlannedFile(NamedTuple):
    """A file that the plan was made from: kernel, initrd, firmware, symbols, unpacked (the kernel in a bzImage), or a
    device's image (``virtio-pmem0/path``). ``version`` is the one that was read; None: any version will do, because all
    have the same content."""

    name: str
    path: Path
    version: Version | None


class Start(NamedTuple):
    """The part of the plan that depends on the kind of image. ``modules`` are the command lines of the placements of
    this name. ``mapped`` are files in guest memory, ``offered`` is what fw_cfg has for firmware;
    ``uefi``: it is UEFI firmware."""

    image: str
    protocol: str
    entry: Entry
    placements: tuple[Placement, ...]
    notes: tuple[str, ...] = ()
    files: tuple[PlannedFile, ...] = ()
    modules: tuple[str, ...] = ()
    cmdline: str | None = None  # None: the spec's
    mapped: tuple[Slot, ...] = ()
    offered: tuple[Placement, ...] = ()
    uefi: bool = False
    patches: tuple[Patch, ...] = ()
    bits: int | None = None


class Plan(NamedTuple):
    """Everything decided before the machine exists. Plain data: the runner needs nothing else of the spec."""

    vm: PlannedVM
    image: str  # "flat" | "bzimage" | "vmlinux" | "elf" (no Linux) | "firmware"
    # "flat" | "linux64" | "linux32" | "elf64" (Linux, also one that was unpacked) | "pvh" | "multiboot" | "multiboot2"
    # | "firmware"
    protocol: str
    cmdline: str
    modules: tuple[str, ...]  # their command lines
    slots: tuple[Slot, ...]
    areas: tuple[Area, ...]
    taken: tuple[Region, ...]  # the machine's own ranges on the buses: no device's region is ever mapped there
    e820: tuple[E820, ...]
    placements: tuple[Placement, ...]
    devices: tuple[PlannedDevice, ...]
    entry: Entry
    irqchip: bool
    pit: bool
    calls: tuple[Call, ...]
    notes: tuple[str, ...] = ()  # decisions that the spec did not ask for, in sentences
    files: tuple[PlannedFile, ...] = ()
    mapped: tuple[Slot, ...] = ()  # files in guest memory, which are not RAM
    # What fw_cfg has for firmware: kernel, setup (a bzImage's first part), initrd and cmdline, with the addresses where
    # firmware puts them; and the spec's own files, under their names there.
    offered: tuple[Placement, ...] = ()
    patches: tuple[Patch, ...] = ()  # of the loaded kernel: the guest is modified
    bits: int | None = None  # of the kernel's code, 32 or 64, also if it begins in another mode; None: nobody says
    names: tuple[Named, ...] = ()  # every file that a run uses
    code: bytes | None = None  # a flat guest's code, if the spec contains it
    time: PlannedTime = PlannedTime()
    memory: PlannedMemory = PlannedMemory()
    cpu: PlannedCPU = PlannedCPU()
    trace: PlannedTrace = PlannedTrace()
    expect: PlannedExpect = PlannedExpect()
    lock: PlannedLock = PlannedLock()
    path: Path | None = None  # the spec's file
    overrides: tuple[str, ...] = ()
    spec: Mapping[str, Any] = MappingProxyType({})  # the spec as a TOML table, for people only
    base: Path | None = None  # where the spec's relative paths began, if not beside its file
    sources: Path | None = None  # where the classes of its devices are, if not there

    @property
    def directory(self) -> Path:
        """Where the spec's relative paths began."""
        return self.base or (self.path.parent if self.path else Path.cwd())

    @property
    def classes(self) -> Path:
        """Where the classes of its devices are."""
        return self.sources or self.directory

    def unrecorded(self) -> "Plan":
        """The plan of the same run without recording."""
        spec = {**self.spec, "trace": {key: value for key, value in self.spec["trace"].items() if key != "path"}}
        names = tuple(name for name in self.names if not name.recording)
        return self._replace(spec=spec, names=names, trace=self.trace._replace(path=None))

    def recorded(self, path: Path) -> "Plan":
        """The plan of the same run, recorded into a file, which is absolute and not one that the run uses."""
        spec = {**self.spec, "trace": {**self.spec.get("trace", {}), "path": to_text(path)}}
        names = (*(name for name in self.names if not name.recording), Named("trace.path", path, True, recording=True))
        return self._replace(spec=spec, names=names, trace=self.trace._replace(path=path))

    @property
    def records_dma(self) -> bool:
        """Whether a recording of the run has what devices write to the guest's memory: only with virtual time does the
        guest find it at an exit of its own."""
        writes = any(device.transport is not None or "class" in device.options for device in self.devices)
        return self.time.kind == "virtual" and self.trace.inputs and writes

    def placement(self, name: str) -> Placement | None:
        """The first placement of a name, or None."""
        return next((placement for placement in self.placements if placement.name == name), None)

    def device(self, kind: str) -> PlannedDevice | None:
        """The first device of a kind, or None."""
        return next((device for device in self.devices if device.kind == kind), None)
