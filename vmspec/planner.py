"""From a spec to its plan: all decisions about a machine are made here."""

from pathlib import Path
from typing import TypeVar

from vmspec import layout
from vmspec.boot import flat, kernels, parts
from vmspec.devices.storage import ServedElsewhere, VirtioBlk, VirtioFS
from vmspec.image import BzImage, Elf, ImageError, Multiboot, disk, identify, opened
from vmspec.plan import calls, expectations, features, images, memory_map, virtual
from vmspec.plan import flash as flash_memory
from vmspec.plan import resources as buses
from vmspec.plan.calls import Call, Slot
from vmspec.plan.plan import E820, Placement, Plan, PlannedDevice, PlannedFile, Start
from vmspec.plan.settings import (
    PlannedCPU,
    PlannedLeaf,
    PlannedLock,
    PlannedMemory,
    PlannedTime,
    PlannedTrace,
    PlannedVM,
)
from vmspec.schema.problems import Problem, SpecError
from vmspec.schema.tables import write_model
from vmspec.schema.units import format_size
from vmspec.schema.value import Model
from vmspec.spec.models import Spec

MEMORY_MAX = 1 << 52  # physical addresses have at most 52 bits (Intel SDM volume 3, 4.1.4)
VCPUS_MAX = 254  # 8-bit APIC ids; 255 means all
PIT_SPEAKER_DUMMY = 1  # KVM_CREATE_PIT2: KVM answers port 0x61 too, with which Linux reads the timer's output

Settings = TypeVar("Settings", PlannedVM, PlannedMemory, PlannedTrace, PlannedLock)


def plan(spec: Spec, disks: bool = True) -> Plan:
    """Everything that ``spec`` implies. Raises :class:`SpecError` with every problem found, and nothing else, for any
    contents of the files that it names. Without ``disks`` the images of disks need not be there."""
    problems: list[Problem] = []
    _machine(spec, problems)
    if problems:  # everything else depends on the sizes
        raise SpecError(tuple(problems))
    slots = memory_map.slots(spec.vm.memory)
    start = _start(spec, slots, problems)
    # A kernel finds a PC, as does firmware. For checking the rest of the spec, an unusable image counts as the kernel
    # it was probably meant to be.
    is_pc = start.image != "flat" if start else spec.boot.code is None and spec.boot.mode is None
    has_firmware = spec.boot.firmware is not None
    kernel_loaded = is_pc and not has_firmware
    host = spec.vm.time == "host"
    irqchip = host and (spec.vm.irqchip == "kernel" or (spec.vm.irqchip == "auto" and is_pc))
    pit = irqchip if spec.vm.pit is None else spec.vm.pit and host
    if pit and not irqchip:
        problems.append(Problem("vm.pit", "KVM's timer needs its interrupt controller: vm.irqchip must be kernel"))
    if has_firmware and spec.vm.vcpus > 1 and not irqchip:
        message = "firmware starts the other vCPUs by messages of interrupt controllers: leave it out, or give one vCPU"
        problems.append(Problem("vm.irqchip", message, spec.vm.irqchip))
    time = virtual.planned(spec, problems, modified=start is not None and bool(start.patches))
    fixed = (*slots, *start.mapped) if start else slots
    devices = buses.devices(spec, fixed, irqchip, pit and irqchip, problems, start is not None and start.uefi)
    devices, mapped, mapped_files = images.placed(spec, fixed, devices, problems)
    mapped = (*fixed[len(slots) :], *mapped)
    features.check(spec.cpu.disable, problems)
    for index, device in enumerate(devices):
        if device.kind == "virtio-balloon" and (spec.memory.locked or spec.memory.pages == "hugetlbfs"):
            cannot = "memory.locked" if spec.memory.locked else 'memory.pages = "hugetlbfs"'
            problems.append(Problem(f"device[{index}]", f"a balloon returns no memory with {cannot}"))
    symbols = _symbols(spec, problems)
    _folders_and_disks(spec, disks, problems)
    backing = _backing(spec, problems)
    leaves, model = (virtual.leaves(), ()) if time.kind == "virtual" else _cpu_model(spec, problems)
    if irqchip and set(spec.expect.exit) == {"halt"} and not any("python" in device.kind for device in devices):
        message = "a machine with interrupt controllers never ends with halt: KVM waits for an interrupt"
        problems.append(Problem("expect.exit", message))
    expect = expectations.planned(spec.expect, spec.trace, devices, problems)
    if spec.vm.seed is not None and start is not None and start.cmdline is None:
        problems.append(Problem("vm.seed", f"is for Linux; this guest is started as {start.protocol}"))
    placements = start.placements if start else ()
    if kernel_loaded:
        placements += _tables(irqchip, any(device.kind == "acpi" for device in devices))
        parts.apart(placements, problems)
    if start is None or problems:
        raise SpecError(tuple(problems))
    return Plan(
        vm=copied(PlannedVM, spec.vm),
        image=start.image,
        protocol=start.protocol,
        cmdline=spec.boot.cmdline if start.cmdline is None else start.cmdline,
        modules=start.modules,
        slots=slots,
        taken=buses.taken((*slots, *mapped), irqchip, pit),
        areas=memory_map.areas(slots, kernel_loaded, irqchip, devices, mapped),
        e820=_e820(slots, kernel_loaded, has_firmware, _ecam(devices)),
        placements=placements,
        devices=devices,
        entry=start.entry,
        irqchip=irqchip,
        pit=pit,
        calls=_calls((*slots, *mapped), spec.vm.vcpus, irqchip, pit, time),
        notes=(*start.notes, *_unfound(start, devices), *flash_memory.notes(devices)),
        files=(*start.files, *symbols, *model, *mapped_files),
        mapped=mapped,
        offered=start.offered,
        patches=start.patches,
        bits=start.bits,
        names=tuple(spec.names()),
        code=spec.boot.code,
        time=time,
        memory=copied(PlannedMemory, spec.memory)._replace(backing=backing),
        cpu=PlannedCPU(spec.cpu.disable, leaves, own=time.kind == "virtual", vendor=spec.cpu.vendor),
        trace=copied(PlannedTrace, spec.trace),
        expect=expect,
        lock=copied(PlannedLock, spec.lock),
        path=spec.path,
        overrides=spec.overrides,
        base=spec.base,
        sources=spec.sources,
        spec=write_model(spec),
    )


def _unfound(start: Start, devices: tuple[PlannedDevice, ...]) -> tuple[str, ...]:
    if not start.uefi:
        return ()
    from vmspec.boot import firmware  # late: few specs have it

    return firmware.unfound(devices)


def copied(settings: type[Settings], model: Model) -> Settings:
    """The settings from a model of the spec."""
    return settings(*(getattr(model, name) for name in settings._fields))


def _machine(spec: Spec, problems: list[Problem]) -> None:
    memory, vcpus = spec.vm.memory, spec.vm.vcpus
    if memory <= 0 or memory % layout.PAGE or memory > MEMORY_MAX - layout.GIB:
        problems.append(Problem("vm.memory", "is not a valid memory size", str(memory), "whole 4 KiB pages"))
    elif spec.memory.pages == "hugetlbfs" and memory % layout.HUGE_PAGE:
        problems.append(Problem("vm.memory", "must be whole huge pages", format_size(memory), "a multiple of 2MiB"))
    if not 1 <= vcpus <= VCPUS_MAX:
        problems.append(Problem("vm.vcpus", "is not a valid number of vCPUs", str(vcpus), f"1 to {VCPUS_MAX}"))


def _start(spec: Spec, slots: tuple[Slot, ...], problems: list[Problem]) -> Start | None:
    """The start that the image needs; None if that is unknown, which is then a problem."""
    boot = spec.boot
    if boot.firmware is not None:
        from vmspec.boot import firmware  # late: few specs have it

        return firmware.start(spec, boot.firmware, slots, problems)
    if boot.files:
        problems.append(Problem("boot.files", "are for firmware, which finds them in fw_cfg: give boot.firmware"))
    if boot.code is not None:
        if boot.kernel is not None:
            problems.append(Problem("boot.code", "cannot be combined with boot.kernel: give one of them"))
        elif not boot.code:
            problems.append(Problem("boot.code", "is empty"))
        else:
            return flat.start(boot, len(boot.code), slots, problems)
        return None
    if boot.kernel is None:
        problems.append(Problem("boot", "nothing to start: give boot.kernel, boot.code or boot.firmware"))
        return None
    try:
        with opened(boot.kernel) as source:
            match identify(source, flat=boot.mode is not None):
                case None:
                    start = flat.start(boot, source.size, slots, problems)
                case BzImage() | Elf() | Multiboot() as image:
                    start = kernels.start(spec, source, image, slots, problems)
                case wrapped:
                    start = kernels.unwrapped(spec, wrapped, slots, problems)
            kernel = PlannedFile("kernel", boot.kernel, source.version)
    except ImageError as error:
        problems.append(Problem("boot.kernel", str(error), str(boot.kernel)))
        return None
    return start and start._replace(files=(kernel, *start.files))


def _symbols(spec: Spec, problems: list[Problem]) -> tuple[PlannedFile, ...]:
    if spec.boot.symbols is None:
        return ()
    try:
        with opened(spec.boot.symbols) as source:
            return (PlannedFile("symbols", spec.boot.symbols, source.version),)
    except ImageError as error:
        problems.append(Problem("boot.symbols", str(error), str(spec.boot.symbols)))
        return ()


def _cpu_model(spec: Spec, problems: list[Problem]) -> tuple[tuple[PlannedLeaf, ...], tuple[PlannedFile, ...]]:
    """The leaves of the CPU's model, and its file."""
    path = spec.cpu.model
    if not isinstance(path, Path):
        return (), ()
    from vmspec.plan import cpu_model_file  # late: few specs have one

    try:
        with opened(path) as source:
            file = PlannedFile("cpu", path, source.version)
        leaves = cpu_model_file.load(path)
    except ImageError as error:
        problems.append(Problem("cpu.model", str(error), str(path)))
    except SpecError as error:
        problems += error.problems
    else:
        return tuple(PlannedLeaf(*leaf, *answer) for leaf, answer in leaves.items()), (file,)
    return (), ()


def _backing(spec: Spec, problems: list[Problem]) -> str:
    """The host memory behind guest RAM: a process that serves a device must be able to map it."""
    given = spec.memory.backing
    elsewhere = (isinstance(each, ServedElsewhere) and each.elsewhere for each in spec.devices)
    first = next((index for index, found in enumerate(elsewhere) if found), None)
    if first is None:
        return "anonymous" if given == "auto" else given
    if given == "anonymous":
        message = f'another process serves device[{first}] and must see guest RAM: give "memfd", or leave it out'
        problems.append(Problem("memory.backing", message))
    return "memfd"


def _e820(slots: tuple[Slot, ...], kernel: bool, firmware: bool, pci: bool) -> tuple[E820, ...]:
    """The memory map: a kernel's, or firmware's, which makes one of its own from it."""
    if firmware:
        return memory_map.plain_e820(slots, pci)
    return memory_map.e820(slots, pci) if kernel else ()


def _ecam(devices: tuple[PlannedDevice, ...]) -> bool:
    """Whether the memory map reserves configuration space. For UEFI firmware it does not: the firmware does."""
    return any(device.kind == "pci-host" and device.options["chipset"] != "q35" for device in devices)


def _folders_and_disks(spec: Spec, disks: bool, problems: list[Problem]) -> None:
    """Look at folders and images before there is a machine. Whether one is in use is seen as it is opened."""
    for index, device in enumerate(spec.devices):
        match device:
            case VirtioBlk(path=path) if disks:
                why = disk.problem(path, device.mode == "rw", device.format)
            case VirtioFS(path=path):
                why = None if path.is_dir() else "is no folder of this host"
            case _:
                continue
        if why is not None:
            problems.append(Problem(f"device[{index}].path", why, str(path)))


def _tables(irqchip: bool, acpi: bool) -> tuple[Placement, ...]:
    """The tables that describe the machine to Linux, beside boot_params."""
    tables: tuple[Placement, ...] = (Placement("bda", layout.BDA, layout.BDA_SIZE),)
    if irqchip:
        tables += (Placement("mptable", layout.MPTABLE, layout.MPTABLE_SIZE),)
    if acpi:
        tables += (Placement("acpi", layout.ACPI, layout.ACPI_SIZE),)
    return tables


def _calls(slots: tuple[Slot, ...], vcpus: int, irqchip: bool, pit: bool, time: PlannedTime) -> tuple[Call, ...]:
    """The KVM calls in order; the interrupt controllers come before the vCPUs, which then get their local APICs."""
    made: list[Call] = [
        calls.Open(),
        calls.GetApiVersion(),
        calls.CreateVm(),
        calls.SetTssAddr(layout.KVM_TSS),
        calls.SetIdentityMapAddr(layout.KVM_IDENTITY_MAP),
        *virtual.calls(time),
    ]
    if irqchip:
        made.append(calls.CreateIrqchip())
    if pit:
        made.append(calls.CreatePit2(PIT_SPEAKER_DUMMY))
    made += map(calls.SetUserMemoryRegion, slots)
    made += (calls.GetVcpuMmapSize(), calls.GetSupportedCpuid())
    for vcpu in range(vcpus):
        made += (calls.CreateVcpu(vcpu), calls.SetCpuid2(vcpu))
        if irqchip:
            made.append(calls.SetLapic(vcpu))
        # With local APICs all vCPUs but the first wait for the guest's INIT and SIPI.
        if vcpu == 0 or not irqchip:
            made += (calls.SetSregs(vcpu), calls.SetRegs(vcpu))
    made += map(calls.Run, range(vcpus))
    return tuple(made)
