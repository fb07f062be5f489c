"""The spec as frozen attrs classes, one per TOML table; names are the field's standard terms.

Sizes are bytes, durations nanoseconds, addresses guest-physical, paths absolute (relative ones in the file are
relative to the spec). ``None`` means "not given". Each field's metadata says what its key takes and documents it; the
device models are in :mod:`vmspec.devices.models`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from attrs import field, frozen

from vmspec import layout
from vmspec.devices import own
from vmspec.devices.isa import Python
from vmspec.devices.models import KINDS, Device
from vmspec.devices.net import VirtioNet
from vmspec.devices.storage import Flash, VhostUser, VirtioBlk, VirtioFS
from vmspec.devices.virtio import VirtioPmem, VirtioPython, VirtioVsock
from vmspec.registers import fwcfg
from vmspec.registers.cpuid import VENDORS
from vmspec.schema.guest_values import Ascii, Code, Registers
from vmspec.schema.keypath import KeyPath, join, split
from vmspec.schema.tables import Kinds, Table, Tables
from vmspec.schema.value import Model, key
from vmspec.schema.values import Address, Choice, Duration, File, Flag, Integer, Many, Size, Text
from vmspec.spec import fileuse
from vmspec.spec.expect import Expect
from vmspec.spec.fileuse import LOCK, SPEC, Named, lock_path
from vmspec.spec.matrix import MatrixTable
from vmspec.spec.testing import Testing
from vmspec.trace.events import EVENTS, NEEDED

ADDRESS = Address((1 << 64) - 1)
# A NUL would end it early; a line end is not part of one.
CMDLINE = Text(line=True, empty=True)
PROTOCOLS = ("linux", "pvh", "multiboot", "multiboot2")
MODULES_MAX = 64


@frozen(eq=False, repr=False)
class VM(Model):
    """The machine as a whole."""

    name: str = field(metadata=key(Text(line=True), "the machine's name, shown in traces and reports"))
    memory: int = field(default=128 << 20, metadata=key(Size(1 << 20, 1 << 40, layout.PAGE), "guest RAM"))
    vcpus: int = field(default=1, metadata=key(Integer(1, 254), "number of vCPUs"))
    timeout: int | None = field(
        default=None, metadata=key(Duration(), "ends the run after this time, not counting pauses; not given: no limit")
    )
    irqchip: str = field(
        default="auto",
        metadata=key(
            Choice("auto", "kernel", "none"),
            "the interrupt controllers: in KVM, or none; auto: none for a flat guest, else kernel",
        ),
    )
    pit: bool | None = field(
        default=None, metadata=key(Flag(), "KVM's timer (i8254); not given: true if there are interrupt controllers")
    )
    time: str = field(
        default="host",
        metadata=key(
            Choice("host", "virtual"),
            "host: the guest's clocks follow the host's; virtual: time is a function of the guest's exits, so that all "
            "runs have the same exits",
        ),
    )
    step: int | None = field(
        default=None, metadata=key(Duration(), "virtual time: how long each exit takes; not given: 20us")
    )
    spin: int | None = field(
        default=None,
        metadata=key(
            Duration(),
            "virtual time: ends the run (spun) if the guest makes no exit for this time of the host's, because its "
            "clocks stand still then; not given: 2min",
        ),
    )
    seed: int | None = field(
        default=None,
        metadata=key(Integer(0, (1 << 64) - 1), "virtual time: the seed of Linux's random numbers; not given: 0"),
    )
    transport: str = field(
        default="mmio",
        metadata=key(
            Choice("mmio", "pci"),
            "how the guest reaches virtio devices whose own transport is not given: mmio: by registers in memory; "
            "pci: on a PCI bus with MSI-X",
        ),
    )

    def faults(self) -> Iterator[tuple[KeyPath, str]]:
        if self.pit and self.irqchip == "none":
            yield ("pit",), "the timer needs the interrupt controllers, and irqchip is none"


@frozen(eq=False, repr=False)
class Memory(Model):
    """The host memory behind guest RAM."""

    backing: str = field(
        default="auto",
        metadata=key(
            Choice("auto", "anonymous", "memfd"),
            "anonymous: private to vmrun; memfd: a file in memory that can be shared; auto: memfd if another process "
            "serves a device, else anonymous",
        ),
    )
    pages: str = field(
        default="transparent",
        metadata=key(
            Choice("transparent", "small", "hugetlbfs"),
            "transparent: transparent huge pages if the host has them; small: 4 KiB pages; hugetlbfs: 2 MiB pages from "
            "the host's pool",
        ),
    )
    locked: bool = field(
        default=False, metadata=key(Flag(), "lock guest RAM in host memory, so that it is never swapped")
    )
    prefault: bool = field(default=False, metadata=key(Flag(), "allocate all guest RAM before the guest starts"))


@frozen(eq=False, repr=False)
class Module(Model):
    """A file that a kernel finds in memory, with a text for it."""

    path: Path = field(metadata=key(File(), "the file"))
    cmdline: str = field(default="", metadata=key(CMDLINE, "the module's command line"))


@frozen(eq=False, repr=False)
class FirmwareFile(Model):
    """A file that firmware finds by its name in fw_cfg."""

    name: str = field(metadata=key(Ascii(fwcfg.NAME_MOST), "its name there, such as opt/org.example/settings"))
    path: Path = field(metadata=key(File(), "the file"))

    def faults(self) -> Iterator[tuple[KeyPath, str]]:
        if not self.name:
            yield ("name",), "must not be empty"
        if self.name in fwcfg.OWN:
            yield ("name",), "is the name of a file of the machine's own"


@frozen(eq=False, repr=False)
class Boot(Model):
    """What is in memory at the start and where the first vCPU begins."""

    ONE_OF: ClassVar[tuple[str, ...]] = ("kernel", "code", "firmware")
    TOGETHER: ClassVar[tuple[str, ...]] = ("kernel", "firmware")

    kernel: Path | None = field(
        default=None,
        metadata=key(
            File(),
            "the image: a bzImage, an ELF kernel or one with a Multiboot header, also compressed or in a unified "
            "kernel image, detected from its content; a flat image needs mode",
        ),
    )
    firmware: Path | None = field(
        default=None,
        metadata=key(
            File(),
            "firmware that starts the machine, such as SeaBIOS: a ROM image, which ends at 4 GiB; the first vCPU "
            "begins as after reset. A kernel, initrd and cmdline are handed over by fw_cfg",
        ),
    )
    files: tuple[FirmwareFile, ...] = field(
        default=(),
        metadata=key(
            Tables(FirmwareFile, fwcfg.FILES_MOST, "name"), "firmware: further files in fw_cfg: name and path"
        ),
    )
    protocol: str | None = field(
        default=None,
        metadata=key(
            Choice(*PROTOCOLS),
            "how the kernel is started; not given: as its image says, which vmspec plan shows. linux: by Linux's "
            "boot protocol; pvh: by the 32-bit entry in Xen's notes; multiboot, multiboot2: as GRUB does",
        ),
    )
    initrd: Path | None = field(
        default=None, metadata=key(File(), "Linux: the initial RAM disk; other kernels: the first module")
    )
    modules: tuple[Module, ...] = field(
        default=(),
        metadata=key(
            Tables(Module, MODULES_MAX), "PVH and Multiboot: files that are loaded beside the kernel: path and cmdline"
        ),
    )
    cmdline: str = field(default="", metadata=key(CMDLINE, "the kernel's command line"))
    unpack: bool = field(
        default=True,
        metadata=key(Flag(), "bzImage: decompress its payload on the host and enter the ELF in it directly"),
    )
    symbols: Path | None = field(
        default=None, metadata=key(File(), "System.map, or an ELF with symbols, for the crash report and vmtrace hot")
    )
    code: bytes | None = field(default=None, metadata=key(Code(), "flat: machine code in hexadecimal"))
    mode: str | None = field(
        default=None,
        metadata=key(Choice("real", "protected", "long"), "flat: the mode in which the first vCPU starts; required"),
    )
    load: int | None = field(default=None, metadata=key(ADDRESS, "flat: the load address; default 0x1000"))
    entry: int | None = field(
        default=None, metadata=key(ADDRESS, "flat: where the first vCPU starts; default the load address")
    )
    registers: dict[str, int] = field(
        factory=dict, metadata=key(Registers(), "flat: initial values of general registers")
    )


@frozen(eq=False, repr=False)
class CPU(Model):
    """The CPUID policy."""

    model: str | Path = field(
        default="host",
        metadata=key(
            File("host"),
            "host: what KVM supports on this host; or a file with a table of CPUID (vmspec cpuid writes one), so that "
            "the guest sees the same processor on every host that has all of it",
        ),
    )
    disable: tuple[str, ...] = field(
        default=(), metadata=key(Many(Text(line=True)), "features to remove, named as in /proc/cpuinfo")
    )
    vendor: str | None = field(
        default=None,
        metadata=key(
            Choice(*VENDORS),
            "the vendor that the guest sees; KVM then makes up for some of what differs, such as SYSENTER. Not given: "
            "the host's, or the model's",
        ),
    )


@frozen(eq=False, repr=False)
class Trace(Model):
    """Where and how vmrun records exits."""

    FORMER: ClassVar[dict[str, str]] = {"kernel": "tracepoints"}

    path: Path | None = field(default=None, metadata=key(File(), "the trace file; not given: vmrun records nothing"))
    rip: bool = field(
        default=True, metadata=key(Flag(), "record the guest's RIP with each exit, if the host's KVM provides it")
    )
    full: str = field(
        default="wait", metadata=key(Choice("wait", "drop"), "if a ring is full: wait for room, or drop new records")
    )
    tracepoints: bool | str = field(
        default=False,
        metadata=key(
            Choice(False, True, "required"),
            "also record KVM's tracepoints, beside the trace (boot.tracepoints.arrow), if the host provides them; "
            "required: do not run without them",
        ),
    )
    events: tuple[str, ...] = field(
        default=(),
        metadata=key(
            Many(Choice(*EVENTS)),
            f"the tracepoints to record, beside {', '.join(NEEDED[:-1])} and {NEEDED[-1]}; not given: all",
        ),
    )
    inputs: bool = field(
        default=False,
        metadata=key(
            Flag(),
            "also record what reaches the machine from outside, beside the trace (boot.inputs.arrow): host bytes, "
            "timers, interrupts, requests to end the run; with virtual time, also what devices write to guest memory, "
            "and read there (boot.dma.arrow)",
        ),
    )
    requests: bool = field(
        default=True,
        metadata=key(
            Flag(),
            "also record each request to a virtio device, beside the trace (boot.requests.arrow), if there is such a "
            "device",
        ),
    )
    outputs: bool = field(
        default=True,
        metadata=key(
            Flag(),
            "also record what virtio consoles and Python devices print, beside the trace (boot.outputs.arrow); the "
            "exits do not have it",
        ),
    )
    ring: int = field(default=65536, metadata=key(Integer(64, 1 << 24, power=True), "records in each ring"))

    def faults(self) -> Iterator[tuple[KeyPath, str]]:
        if self.path is not None and self.path.suffix in (".csv", ".parquet"):
            yield (
                ("path",),
                "a trace is always an Arrow file: use a name that ends in .arrow; vmtrace convert makes other formats",
            )


@frozen(eq=False, repr=False)
class LockPolicy(Model):
    """What becomes of a run that differs from the spec's lock."""

    require: bool = field(
        default=False,
        metadata=key(
            Flag(),
            "run the spec only if it agrees with the lock beside it (vmspec lock writes it), as vmrun --locked does; "
            "otherwise vmrun rejects the run and names each difference",
        ),
    )


@frozen(eq=False, repr=False)
class Spec(Model):
    """A virtual machine. ``path`` is its file, ``overrides`` the --set expressions that were applied, in order.
    ``base`` is where its relative paths began, if not beside the file; ``sources`` is where its devices' classes are,
    if not there. Specs are equal if they describe the same machine."""

    vm: VM = field(metadata=key(Table(VM), "the machine as a whole"))
    boot: Boot = field(metadata=key(Table(Boot), "what is in memory at the start"))
    memory: Memory = field(factory=Memory, metadata=key(Table(Memory), "the host memory behind guest RAM"))
    cpu: CPU = field(factory=CPU, metadata=key(Table(CPU), "the CPUID policy"))
    devices: tuple[Device, ...] = field(default=(), metadata=key(Kinds(KINDS), "the devices", name="device"))
    trace: Trace = field(factory=Trace, metadata=key(Table(Trace), "where and how vmrun records exits"))
    expect: Expect = field(factory=Expect, metadata=key(Table(Expect), "what makes a run a success"))
    lock: LockPolicy = field(
        factory=LockPolicy, metadata=key(Table(LockPolicy), "whether a run must be the one that was locked")
    )
    test: Testing = field(factory=Testing, metadata=key(Table(Testing), "how vmrun test runs the spec"))
    matrix: dict[str, tuple[Any, ...]] = field(
        factory=dict,
        metadata=key(
            MatrixTable(),
            'keys that vmrun test gives several values each, as in "vm.vcpus" = [1, 2, 4]; it runs every combination, '
            "and vmrun SPEC the spec as it is",
        ),
    )
    path: Path | None = field(default=None, eq=False)
    overrides: tuple[str, ...] = field(default=(), eq=False)
    base: Path | None = field(default=None, eq=False)
    sources: Path | None = field(default=None, eq=False)

    def faults(self) -> Iterator[tuple[KeyPath, str]]:
        readers = [(n, path) for n, path, end in self._ends() if getattr(end, "input", None) == "stdin"]
        for _, path in readers[1:]:
            yield (*path, "input"), f'stdin is read by device[{readers[0][0]}] already; give "none" or a file'
        for where, message in fileuse.conflicts(fileuse.uses(self.names())):
            yield split(where), message

    def names(self) -> Iterator[Named]:
        """Every file that a run of this spec uses, by its key."""
        if self.path is not None:
            yield Named(SPEC, self.path)
            if self.lock.require:
                yield Named(LOCK, lock_path(self.path))
        for name in ("kernel", "firmware", "initrd", "symbols"):
            if (file := getattr(self.boot, name)) is not None:
                yield Named(f"boot.{name}", file)
        for n, module in enumerate(self.boot.modules):
            yield Named(f"boot.modules[{n}].path", module.path)
        for n, file in enumerate(self.boot.files):
            yield Named(f"boot.files[{n}].path", file.path)
        if isinstance(self.cpu.model, Path):
            yield Named("cpu.model", self.cpu.model)
        sources = self.sources or self.base or (self.path and self.path.parent)
        for n, device in enumerate(self.devices):
            if isinstance(device, Python | VirtioPython) and sources is not None:
                yield Named(f"device[{n}].class", own.module(device.cls, sources))
            if isinstance(device, VhostUser) and device.socket is not None:
                yield Named(f"device[{n}].socket", device.socket)
            if isinstance(device, VirtioBlk | Flash):
                yield Named(f"device[{n}].path", device.path, device.mode == "rw")
            if isinstance(device, Flash) and device.template is not None:
                yield Named(f"device[{n}].template", device.template)
            if isinstance(device, VirtioNet) and device.capture is not None:
                yield Named(f"device[{n}].capture", device.capture, writes=True)
            if isinstance(device, VirtioNet) and device.listen is not None:
                yield Named(f"device[{n}].listen", device.listen, writes=True)
            if isinstance(device, VirtioPmem | VirtioFS):
                yield Named(f"device[{n}].path", device.path)
            if isinstance(device, VirtioVsock):
                yield Named(f"device[{n}].path", device.path, writes=True)
        for _, path, end in self._ends():
            for name, writes in (("input", False), ("output", True)):
                if isinstance(file := getattr(end, name, None), Path):
                    yield Named(join((*path, name)), file, writes)
        if self.expect.reference is not None:
            yield Named("expect.reference", self.expect.reference)
        if self.trace.path is not None:
            yield Named("trace.path", self.trace.path, True, recording=True)

    def _ends(self) -> Iterator[tuple[int, KeyPath, Model]]:
        """Each device and each port of a device: the device's index, the table's path, the table."""
        for n, device in enumerate(self.devices):
            yield n, ("device", n), device
            for k, port in enumerate(getattr(device, "ports", ())):
                yield n, ("device", n, "ports", k), port
