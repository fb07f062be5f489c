"""Virtual time: what a machine has whose time is a function of the guest's exits, and what it cannot have.

The guest must find no clock that follows the host's, and no other source of what differs from run to run. So CPUID is a
table of vmrun's own, and KVM answers only those MSRs whose values are the guest's.
"""

from collections.abc import Iterator
from pathlib import Path

from vmspec import layout
from vmspec.devices import isa
from vmspec.devices.models import Device
from vmspec.devices.net import VirtioNet
from vmspec.devices.storage import VirtioBlk
from vmspec.devices.virtio import VirtioConsole, VirtioModel, VirtioNative, VirtioRng
from vmspec.plan.calls import Call, EnableMsrExits, MsrRange, SetMsrFilter
from vmspec.plan.features import FEATURES
from vmspec.plan.plan import Placement
from vmspec.plan.settings import PlannedLeaf, PlannedTime
from vmspec.registers import cpuid as R
from vmspec.schema.problems import Problem
from vmspec.spec.models import Spec

STEP = 20_000  # ns
TSC_STEP = 1_000  # ns
SPIN = 120 * 10**9  # ns
LOOPS = 1_000_000  # of a delay, for each of Linux's ticks
SEED_SIZE = 16 + 32  # bytes: struct setup_data, and what it carries
RAM_MOST = 1 << 38  # bytes: half of what the table's processor can address
ADDRESS_BITS = 48 << 8 | 39  # linear, physical

# Each host that runs KVM has these; no feature that reads a clock or random numbers, no APIC, no PMU, and none with
# MSRs or states of its own (MTRR, MCA, XSAVE). lm has no name in FEATURES: a spec cannot remove it.
PROCESSOR = (
    "fpu", "de", "pse", "msr", "pae", "cx8", "sep", "pge", "cmov", "pat", "pse36", "clflush", "mmx", "fxsr",
    "sse", "sse2", "cx16", "syscall", "nx", "lahf_lm",
)  # fmt: skip
LONG_MODE = 1 << 29  # EDX of EXTENDED_FEATURES
FAMILY_17H = 0x00800F12  # a processor of AMD's whose drivers in Linux need no MSR
VENDOR = (0x68747541, 0x444D4163, 0x69746E65)  # EBX, ECX, EDX: "AuthenticAMD"
NAME = b"vmrun virtual time".ljust(48, b"\0")

# MSRs that only the guest changes (Intel SDM volume 4; AMD APM volume 2, appendix A).
KERNEL_MSRS = (
    MsrRange(0x174, 0x176),  # SYSENTER
    MsrRange(0x277, 0x277),  # PAT
    MsrRange(0xC0000080, 0xC0000084),  # EFER, STAR, LSTAR, CSTAR, SFMASK
    MsrRange(0xC0000100, 0xC0000102),  # the bases of FS and GS
)
MSR_EXITS = 1 << 0 | 1 << 1 | 1 << 2  # KVM_MSR_EXIT_REASON_*: KVM rejects it, does not know it, the filter denies it

LATENCY = 100_000  # ns of requests that the guest has sent at once
DISK_BANDWIDTH, NET_BANDWIDTH = 1 << 30, 1 << 27  # bytes a second; about that of 10 and of 1 Gbit/s

# Devices that follow virtual time; others complete when the host does.
FOLLOWING = (
    isa.Serial, isa.I8042, isa.I8259, isa.I8254, isa.RTC, isa.ACPI, isa.DebugPort, isa.PostPort, isa.DebugExit,
    isa.Pvpanic, isa.Vmgenid, isa.Python, isa.TSC, VirtioRng, VirtioConsole, VirtioBlk, VirtioNet,
)  # fmt: skip
UNENFORCED = (
    "the same type of processor and the same version of KVM",
    "instructions that KVM does not intercept and CPUID does not show: RDTSC, RDRAND, RDSEED",
)
MODIFIED = (
    UNENFORCED[0],
    "instructions that KVM does not intercept and CPUID does not show: RDTSC of modules and programs, RDRAND, RDSEED",
)


def planned(spec: Spec, problems: list[Problem], modified: bool = False) -> PlannedTime:
    """The time of a spec's machine, with a problem for each key that does not agree with it. ``modified``: the guest's
    kernel reads the device tsc in the place of the processor's TSC."""
    vm = spec.vm
    if vm.time == "host":
        for name in ("step", "spin", "seed"):
            if getattr(vm, name) is not None:
                problems.append(Problem(f"vm.{name}", 'is for virtual time: vm.time must be "virtual"'))
        for index, device in enumerate(spec.devices):
            match device:
                case isa.I8259() | isa.I8254():
                    message = 'is for virtual time; otherwise KVM has it (vm.irqchip = "kernel")'
                    problems.append(Problem(f"device[{index}]", message))
                case isa.TSC():
                    message = 'is for virtual time: vm.time must be "virtual"'
                    problems.append(Problem(f"device[{index}]", message))
                case VirtioBlk() | VirtioNet():
                    for name in ("latency", "bandwidth"):
                        if getattr(device, name) is not None:
                            message = 'is for virtual time: vm.time must be "virtual"'
                            problems.append(Problem(f"device[{index}].{name}", message))
        return PlannedTime()
    _machine(spec, problems)
    for index, device in enumerate(spec.devices):
        _device(device, f"device[{index}]", spec, problems)
    own = tuple(
        f"device[{index}], a class of the user's, depends on nothing but the guest and its services"
        for index, device in enumerate(spec.devices)
        if isinstance(device, isa.Python)
    )
    inputs = tuple(
        f"device[{index}] gets the same input at the same exits: the trace's inputs have it"
        for index, device in enumerate(spec.devices)
        if isinstance(device, VirtioNet) or any(source != "none" for _, source in _sources(device))
    )
    counters = [(index, device) for index, device in enumerate(spec.devices) if isinstance(device, isa.TSC)]
    for index, _ in counters[1:]:
        problems.append(Problem(f"device[{index}]", f"device[{counters[0][0]}] stands for the TSC already"))
    tsc_step = next((TSC_STEP if device.step is None else device.step for _, device in counters), 0)
    return PlannedTime(
        "virtual",
        STEP if vm.step is None else vm.step,
        (*(MODIFIED if modified else UNENFORCED), *own, *inputs),
        vm.seed or 0,
        "exact" if modified else "repeatable",
        tsc_step,
        SPIN if vm.spin is None else vm.spin,
    )


def _machine(spec: Spec, problems: list[Problem]) -> None:
    vm = spec.vm
    if vm.vcpus != 1:
        message = "virtual time has one vCPU: the order of several would follow the host's time"
        problems.append(Problem("vm.vcpus", message, str(vm.vcpus), "1"))
    if vm.irqchip == "kernel":
        message = "KVM's interrupt controllers follow the host's time: leave it out, or vm.time = \"host\""
        problems.append(Problem("vm.irqchip", message))
    if vm.pit:
        message = "KVM's timer follows the host's time: leave it out (the machine has an i8254), or vm.time = \"host\""
        problems.append(Problem("vm.pit", message))
    if vm.memory > RAM_MOST:
        problems.append(
            Problem("vm.memory", "virtual time's processor cannot address so much", str(vm.memory), "256GiB")
        )
    if spec.cpu.model != "host":
        message = "virtual time has a processor of vmrun's own, without clocks: leave it out"
        problems.append(Problem("cpu.model", message))
    if spec.cpu.vendor is not None:
        problems.append(Problem("cpu.vendor", "virtual time has a processor of vmrun's own: leave it out"))


def _device(device: Device, path: str, spec: Spec, problems: list[Problem]) -> None:
    for name, source in _sources(device):
        if source != "none" and not spec.trace.inputs:
            message = "the host decides when input comes, so virtual time has it only if it is recorded: give "
            message += 'trace.inputs = true, or "none" here'
            problems.append(Problem(f"{path}.{name}", message))
    match device:
        case isa.RTC(time=None):
            message = "without it the clock follows the host's date, which virtual time does not have: give a date"
            problems.append(Problem(f"{path}.time", message))
        case VirtioRng(seed=None):
            message = "without it the bytes are the host's, others in each run: give a number"
            problems.append(Problem(f"{path}.seed", message))
        case VirtioBlk(format=name) if name != "raw":
            message = "another process serves such an image when the host lets it: virtual time has raw images"
            problems.append(Problem(f"{path}.format", message, name, "raw"))
        case VirtioBlk(mode="rw"):
            message = 'the next run would read what this one has written: give "overlay" or "ro"'
            problems.append(Problem(f"{path}.mode", message, "rw"))
        case VirtioNet() if not spec.trace.inputs:
            message = "the host decides when frames come, so virtual time has a network only if they are recorded: "
            problems.append(Problem(path, f"{message}give trace.inputs = true"))
        case VirtioNet(queues=pairs) if pairs > 1:
            message = "virtual time has one vCPU, which uses one pair of queues: leave it out"
            problems.append(Problem(f"{path}.queues", message, str(pairs), "1"))
        case VirtioNative(notify="ioeventfd") if isinstance(device, FOLLOWING):
            message = "KVM would wake a thread of the host's, which comes at another moment in each run: leave it out"
            problems.append(Problem(f"{path}.notify", message))
        case _ if not isinstance(device, FOLLOWING):
            message = "such a device completes requests when the host does: virtual time cannot have it"
            problems.append(Problem(path, message))
    if device.irq is not None and device.irq >= layout.ISA_IRQS:
        message = "virtual time has the two 8259 interrupt controllers, with 16 interrupts"
        problems.append(Problem(f"{path}.irq", message, str(device.irq), f"0 to {layout.ISA_IRQS - 1}"))
    if isinstance(device, VirtioModel) and (device.transport or spec.vm.transport) != "mmio":
        message = "MSI-X needs an APIC, which virtual time does not have: connect it by mmio"
        key = f"{path}.transport" if device.transport else "vm.transport"
        problems.append(Problem(key, message, "pci", "mmio"))


def _sources(device: Device) -> Iterator[tuple[str, str | Path]]:
    """Where a device's input comes from, by the keys."""
    match device:
        case isa.Serial(input=source):
            yield "input", source
        case VirtioConsole(input=source, ports=ports):
            yield "input", source
            for index, port in enumerate(ports):
                yield f"ports[{index}].input", port.input


def pace(model: VirtioBlk | VirtioNet) -> dict[str, int]:
    """How long a disk or a network takes, as options of its device."""
    bandwidth = DISK_BANDWIDTH if isinstance(model, VirtioBlk) else NET_BANDWIDTH
    return {
        "latency": LATENCY if model.latency is None else model.latency,
        "bandwidth": bandwidth if model.bandwidth is None else model.bandwidth,
    }


def linux(spec: Spec) -> tuple[str, tuple[Placement, ...], tuple[str, ...]]:
    """What Linux needs: its command line, the place of its seed, and notes that say why.

    Without ``lpj`` the kernel counts loops until the time has moved (init/calibrate.c), and time moves only with exits.
    Without a seed, its first reader of random numbers waits for time in the same way (drivers/char/random.c).
    """
    cmdline = spec.boot.cmdline
    if spec.vm.time == "host":
        return cmdline, (), ()
    notes = [f"virtual time: Linux gets a seed of its random numbers (SETUP_RNG_SEED), made from {spec.vm.seed or 0}"]
    if not any(word.startswith("lpj=") for word in cmdline.split()):
        cmdline = f"{cmdline} lpj={LOOPS}".strip()
        notes.append(f"virtual time: lpj={LOOPS} was added to the command line; Linux cannot measure it")
    return cmdline, (Placement("rng-seed", layout.RNG_SEED, SEED_SIZE),), tuple(notes)


def chips(spec: Spec) -> tuple[Device, ...]:
    """The devices that a machine has beside the spec's."""
    if spec.vm.time == "host":
        return ()
    return tuple(kind() for kind in (isa.I8259, isa.I8254) if not any(isinstance(each, kind) for each in spec.devices))


def calls(time: PlannedTime) -> tuple[Call, ...]:
    """The calls on the VM that virtual time needs."""
    return (EnableMsrExits(MSR_EXITS), SetMsrFilter(KERNEL_MSRS)) if time.kind == "virtual" else ()


def leaves() -> tuple[PlannedLeaf, ...]:
    """CPUID of the processor."""
    bits = {(function, register): 0 for function in (R.VERSION, R.EXTENDED_FEATURES) for register in ("ecx", "edx")}
    for name in PROCESSOR:
        bit = FEATURES[name]
        bits[bit.function, bit.register] |= 1 << bit.bit
    ebx, ecx, edx = VENDOR
    named = [
        PlannedLeaf(function, None, *(int.from_bytes(NAME[at + 4 * n : at + 4 * n + 4], "little") for n in range(4)))
        for at, function in zip((0, 16, 32), (R.BRAND_1, R.BRAND_2, R.BRAND_3), strict=True)
    ]
    long_mode = bits[R.EXTENDED_FEATURES, "edx"] | LONG_MODE
    clflush = 8 << 8  # its line, in units of 8 bytes
    return (
        PlannedLeaf(R.VENDOR, None, R.FEATURES, ebx, ecx, edx),
        PlannedLeaf(R.VERSION, None, FAMILY_17H, clflush, bits[R.VERSION, "ecx"], bits[R.VERSION, "edx"]),
        PlannedLeaf(R.FEATURES, 0, 0, 0, 0, 0),
        PlannedLeaf(R.EXTENDED, None, R.ADDRESS_SIZES, ebx, ecx, edx),
        PlannedLeaf(R.EXTENDED_FEATURES, None, FAMILY_17H, 0, bits[R.EXTENDED_FEATURES, "ecx"], long_mode),
        *named,
        PlannedLeaf(R.ADDRESS_SIZES, None, ADDRESS_BITS, 0, 0, 0),
    )
