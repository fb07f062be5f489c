"""The device models of a spec: one frozen class per ``[[device]]`` kind.

A model has what the plan needs of a device: ``regions()``, its windows onto the buses, and ``irq``, its ISA interrupt
or None. The runner has its behaviour. A new device is a class here and a row in :data:`KINDS`.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from attrs import field, frozen

from vmspec import layout
from vmspec.devices.regions import Region
from vmspec.image.foreign import CONTAINERS as FORMATS
from vmspec.registers import debug, i8042, pci, pvpanic, rtc, serial, virtio, virtio_console, virtiopci
from vmspec.schema.guest_values import Ascii, ClassName, Options, PortName, Tag, Windows
from vmspec.schema.keypath import KeyPath
from vmspec.schema.network_values import MAC, Forward, Interface
from vmspec.schema.tables import Tables
from vmspec.schema.value import Model, key
from vmspec.schema.values import Address, Choice, File, Flag, Integer, Many, Moment, Size, Span, Text

PORTS = 0x10000
# Guest-physical addresses have at most 52 bits (Intel SDM volume 3, 4.1.4).
ADDRESSES = 1 << 52
# What a command's words may have of the connection with vmrun.
DESCRIPTORS = "{listener}", "{connection}", "{socket}"
# A Unix address has 107 bytes, of which the number of a descriptor and that of a port take some.
SOCKET_NAME = 75


class DeviceModel(Model):
    """Base of the device models."""

    __slots__ = ()

    @property
    def irq(self) -> int | None:
        """The ISA interrupt, which is also its GSI, or None."""
        return None

    def regions(self) -> tuple[Region, ...]:
        """The windows onto the buses, each name once."""
        return ()


@frozen(eq=False, repr=False)
class Serial(DeviceModel):
    """A 16550A UART at a PC's COM port."""

    com: int = field(default=1, metadata=key(Choice(*serial.COMS), "which COM port: 1 to 4"))
    input: str | Path = field(
        default="stdin", metadata=key(File("stdin", "none"), "where the bytes that the guest receives come from")
    )
    output: str | Path = field(
        default="stdout", metadata=key(File("stdout", "none"), "where the bytes that the guest sends go")
    )

    @property
    def irq(self) -> int | None:
        return serial.COMS[self.com][1]

    def regions(self) -> tuple[Region, ...]:
        return (Region("registers", "port", serial.WIDTH, serial.COMS[self.com][0]),)


@frozen(eq=False, repr=False)
class I8042(DeviceModel):
    """The keyboard controller: the reset line, and answers to Linux's probe."""

    @property
    def irq(self) -> int | None:
        return i8042.IRQ

    def regions(self) -> tuple[Region, ...]:
        # Data, and command and status; 0x61 between them is the timer's.
        return Region("data", "port", 1, i8042.DATA_PORT), Region("command", "port", 1, i8042.COMMAND_PORT)


@frozen(eq=False, repr=False)
class RTC(DeviceModel):
    """An MC146818 clock with its CMOS memory."""

    # A two-digit year: Linux reads 70 to 99 as 1970 to 1999.
    time: datetime | None = field(
        default=None,
        metadata=key(
            Moment(datetime(1970, 1, 1, tzinfo=UTC), datetime(2069, 12, 31, 23, 59, 59, tzinfo=UTC)),
            "the time at the start, UTC; not given: the host's time",
        ),
    )

    @property
    def irq(self) -> int | None:
        return rtc.IRQ

    def regions(self) -> tuple[Region, ...]:
        return (Region("registers", "port", 2, rtc.INDEX_PORT),)


@frozen(eq=False, repr=False)
class ACPI(DeviceModel):
    """ACPI's fixed registers (power off, reset) and the ACPI tables."""

    @property
    def irq(self) -> int | None:
        return layout.SCI

    def regions(self) -> tuple[Region, ...]:
        return (Region("registers", "port", layout.ACPI_PORTS_SIZE, layout.ACPI_PORTS),)


@frozen(eq=False, repr=False)
class DebugPort(DeviceModel):
    """Bochs' debug port: each byte written is console text."""

    port: int = field(default=debug.DEBUG_PORT, metadata=key(Address(PORTS - 1), "the port"))
    output: str | Path = field(default="stdout", metadata=key(File("stdout", "none"), "where the text goes"))

    def regions(self) -> tuple[Region, ...]:
        return (Region("port", "port", 1, self.port),)


@frozen(eq=False, repr=False)
class PostPort(DeviceModel):
    """Port 0x80: power-on self-test codes, which the trace records and the device ignores."""

    def regions(self) -> tuple[Region, ...]:
        return (Region("port", "port", 1, debug.POST_PORT),)


@frozen(eq=False, repr=False)
class DebugExit(DeviceModel):
    """QEMU's isa-debug-exit: a write of N ends the run with status (N << 1) | 1."""

    port: int = field(default=debug.EXIT_PORT, metadata=key(Address(PORTS - 1), "the first port"))
    size: int = field(default=4, metadata=key(Choice(1, 2, 4), "number of ports"))

    def faults(self) -> Iterator[tuple[KeyPath, str]]:
        if self.port + self.size > PORTS:
            yield ("port",), f"the last of {self.size} ports is past 0xffff"

    def regions(self) -> tuple[Region, ...]:
        return (Region("port", "port", self.size, self.port),)


@frozen(eq=False, repr=False)
class Pvpanic(DeviceModel):
    """QEMU's pvpanic: the guest reports its own crash."""

    port: int = field(default=pvpanic.PORT, metadata=key(Address(PORTS - 1), "the port"))

    def regions(self) -> tuple[Region, ...]:
        return (Region("port", "port", 1, self.port),)


@frozen(eq=False, repr=False)
class Python(DeviceModel):
    """A device class in Python, from a module beside the spec."""

    cls: str = field(metadata=key(ClassName(), "the class, as module:Class", name="class"))
    port: tuple[int, int] | None = field(
        default=None, metadata=key(Span(PORTS), "the ports that it occupies: first port, number of ports")
    )
    mmio: tuple[int, int] | None = field(
        default=None,
        metadata=key(Span(ADDRESSES), "the memory that it occupies: guest-physical address, number of bytes"),
    )
    windows: dict[str, dict[str, int]] = field(
        factory=dict,
        metadata=key(
            Windows(), "further regions, which the device maps while the guest runs: name, bus, size", name="regions"
        ),
    )
    irq: int | None = field(
        default=None, metadata=key(Integer(0, layout.IOAPIC_PINS - 1), "the interrupt line that it drives")
    )
    options: dict[str, object] = field(factory=dict, metadata=key(Options(), "keyword arguments of the class"))

    def regions(self) -> tuple[Region, ...]:
        named = (("port", self.port), ("mmio", self.mmio))
        fixed = [Region(name, name, span[1], span[0]) for name, span in named if span is not None]
        own = [Region(name, *window) for name, windows in self.windows.items() for window in windows.items()]
        return (*fixed, *own)

    def faults(self) -> Iterator[tuple[KeyPath, str]]:
        if self.port is None and self.mmio is None and not self.windows:
            yield (), "one key is missing: port, mmio or regions"


@frozen(eq=False, repr=False)
class PCIHost(DeviceModel):
    """The PCI host bridge. A machine with a device on PCI has one in any case."""

    def regions(self) -> tuple[Region, ...]:
        return (
            Region("address", "port", pci.PORTS, pci.ADDRESS_PORT),
            Region("data", "port", pci.PORTS, pci.DATA_PORT),
            Region("ecam", "mmio", layout.PCI_ECAM_SIZE, layout.PCI_ECAM),
            Region("configuration", "pci", pci.CONFIGURATION_SIZE, 0),
        )


@frozen(eq=False, repr=False)
class VirtioModel(DeviceModel):
    """Base of the virtio devices. The planner places their registers and chooses their interrupts."""

    NOT_HERE: ClassVar[dict[str, str]] = {
        "notify": "unknown key: Python serves this device, and only devices that C serves have it"
    }

    transport: str | None = field(
        default=None,
        kw_only=True,
        metadata=key(Choice("mmio", "pci"), "how the guest reaches it; not given: vm.transport"),
    )

    def regions(self) -> tuple[Region, ...]:
        return (Region("registers", "mmio", virtio.SIZE),)

    def pci_regions(self) -> tuple[Region, ...]:
        """The windows as a PCI function, but for the one in configuration space."""
        return (Region("registers", "mmio", virtiopci.SIZE),)


@frozen(eq=False, repr=False)
class VirtioNative(VirtioModel):
    """Base of the virtio devices whose queues C serves."""

    notify: str = field(
        default="exit",
        kw_only=True,
        metadata=key(
            Choice("exit", "ioeventfd"),
            "how the driver notifies the device: exit: by an exit, which the trace has; ioeventfd: KVM wakes the "
            "device, which is faster, and the trace lacks the notifications",
        ),
    )


@frozen(eq=False, repr=False)
class VirtioRng(VirtioModel):
    """Virtio entropy: random bytes for the guest."""

    seed: int | None = field(
        default=None,
        metadata=key(
            Integer(0, (1 << 64) - 1),
            "a seed that makes the bytes the same in each run; not given: the host's random bytes",
        ),
    )


@frozen(eq=False, repr=False)
class ConsolePort(Model):
    """A named port of a virtio console."""

    name: str = field(metadata=key(PortName(), "the name by which the guest finds it"))
    input: str | Path = field(
        default="none", metadata=key(File("stdin", "none"), "where the bytes that the guest receives come from")
    )
    output: str | Path = field(
        default="none", metadata=key(File("stdout", "none"), "where the bytes that the guest sends go")
    )


@frozen(eq=False, repr=False)
class VirtioConsole(VirtioModel):
    """Virtio console: a console, and ports with names for programs in the guest."""

    input: str | Path = field(
        default="stdin", metadata=key(File("stdin", "none"), "where the bytes that the guest receives come from")
    )
    output: str | Path = field(
        default="stdout", metadata=key(File("stdout", "none"), "where the bytes that the guest sends go")
    )
    ports: tuple[ConsolePort, ...] = field(
        default=(),
        metadata=key(
            Tables(ConsolePort, virtio_console.PORTS_MAX - 1, "name"),
            'named ports: name, and input and output as above, by default "none"; the run\'s result also has what the '
            "guest writes to each port",
        ),
    )


class ServedElsewhere(VirtioNative):
    """Base of the devices whose queues another process may serve, by vhost-user."""

    __slots__ = ()

    @property
    def elsewhere(self) -> bool:
        """Whether one does."""
        return True


LOST = key(
    Choice("end", "reset"),
    "what follows if the process that serves it ends too early: end: the run ends with an error; reset: the device "
    "stops until the driver resets it, which starts the process or connects to it again",
)


@frozen(eq=False, repr=False)
class VirtioBlk(ServedElsewhere):
    """Virtio block: a disk, from an image file or a block device of the host."""

    path: Path = field(metadata=key(File(), "the image or the block device"))
    format: str = field(
        default="raw",
        metadata=key(
            Choice("raw", *FORMATS),
            "the format of the image: raw: the disk's bytes; the others are served by qemu-storage-daemon, which vmrun "
            "starts",
        ),
    )
    mode: str = field(
        default="rw",
        metadata=key(
            Choice("ro", "rw", "overlay"),
            "where the guest's writes go: rw: to the image; overlay: to a temporary file that ends with the run; "
            "ro: the guest cannot write",
        ),
    )
    cache: str = field(
        default="writeback",
        metadata=key(
            Choice("writeback", "writethrough"),
            "writeback: writes are durable once the guest flushes them; writethrough: each write, before it completes. "
            "The guest can change it",
        ),
    )
    direct: bool = field(
        default=False, metadata=key(Flag(), "bypass the host's page cache (O_DIRECT); not in mode overlay")
    )
    serial: str = field(default="", metadata=key(Ascii(virtio.ID_BYTES), "the serial number that the guest can read"))
    queues: int = field(default=1, metadata=key(Integer(1, 16), "number of request queues, at most one for each vCPU"))
    block_size: int | None = field(
        default=None,
        metadata=key(
            Choice(512, 1024, 2048, 4096),
            "bytes of a logical block; not given: 512, or the least that the host's storage allows",
            name="block-size",
        ),
    )
    lost: str = field(default="end", metadata=LOST)

    @property
    def elsewhere(self) -> bool:
        return self.format != "raw"

    def faults(self) -> Iterator[tuple[KeyPath, str]]:
        if self.direct and self.mode == "overlay":
            yield ("direct",), "an overlay cannot bypass the page cache: give another mode"
        if self.mode == "overlay" and self.format not in ("raw", "qcow2"):
            yield ("mode",), f"an overlay is over a raw or a qcow2 image, not over {self.format}: give another mode"
        if self.serial and self.elsewhere:
            yield ("serial",), "qemu-storage-daemon has none: leave it out, or give a raw image"


@frozen(eq=False, repr=False)
class VirtioNet(VirtioNative):
    """Virtio network: an Ethernet interface, by default on user-mode networking (libslirp)."""

    tap: str | None = field(
        default=None,
        metadata=key(
            Interface(), "the name of the host's tap device behind it; if there is none, vmrun makes it for the run"
        ),
    )
    stream: Path | None = field(
        default=None,
        metadata=key(
            File(), "a Unix socket to connect to, on which each frame follows its length: QEMU, passt, another vmrun"
        ),
    )
    listen: Path | None = field(
        default=None,
        metadata=key(
            File(), "a Unix socket to listen on, for the same frames; the link is up while a peer is connected"
        ),
    )
    forward: tuple[str, ...] = field(
        default=(),
        metadata=key(Many(Forward()), "user mode: ports of this host that vmrun forwards to ports of the guest"),
    )
    restrict: bool = field(
        default=False, metadata=key(Flag(), "user mode: the guest reaches nothing outside; forwards work")
    )
    capture: Path | None = field(
        default=None, metadata=key(File(), "capture the frames in both directions into this file, as pcapng")
    )
    mac: str | None = field(
        default=None,
        metadata=key(MAC(), "its Ethernet address; not given: derived from the names of the VM and the device"),
    )
    mtu: int | None = field(
        default=None,
        metadata=key(Integer(68, 65535), "the MTU that the driver learns, in bytes; not given: none"),
    )
    queues: int = field(
        default=1, metadata=key(Integer(1, 16), "pairs of queues, so that as many vCPUs can send and receive at once")
    )

    def faults(self) -> Iterator[tuple[KeyPath, str]]:
        others = [name for name in ("tap", "stream", "listen") if getattr(self, name) is not None]
        for name in others[1:]:
            yield (name,), f"a device has one back end, and {others[0]} is given too"
        for name in ("forward", "restrict"):
            if others and getattr(self, name):
                yield (name,), f"only user-mode networking has it, and {others[0]} is given"
        if self.queues > 1 and self.tap is None:
            yield ("queues",), "only a tap can have several pairs of queues"


@frozen(eq=False, repr=False)
class VirtioVsock(VirtioNative):
    """Virtio sockets: streams between programs of the guest (AF_VSOCK) and Unix sockets of the host."""

    path: Path = field(
        metadata=key(
            File(),
            "the Unix socket that vmrun makes for connections from the host: send CONNECT, the port and a line feed. A "
            "connection from the guest to a port of the host goes to the socket at this path, _ and the port",
        )
    )
    cid: int | None = field(
        default=None,
        metadata=key(
            Integer(virtio.CID_LEAST, virtio.CID_MOST),
            "the guest's address; not given: the first from 3 on that no other device of the spec has",
        ),
    )

    def faults(self) -> Iterator[tuple[KeyPath, str]]:
        if (size := len(os.fsencode(self.path.name))) > SOCKET_NAME:
            yield ("path",), f"the name of a socket has at most {SOCKET_NAME} bytes; this one has {size}"


@frozen(eq=False, repr=False)
class VirtioPmem(VirtioNative):
    """Virtio persistent memory: an image file in the guest's address space, read without copies."""

    path: Path = field(
        metadata=key(
            File(),
            "the image, which does not change: the guest's writes go to private memory and end with the run",
        )
    )


@frozen(eq=False, repr=False)
class VirtioPython(VirtioModel):
    """A virtio device class in Python, from a module beside the spec."""

    cls: str = field(metadata=key(ClassName(), "the class, as module:Class", name="class"))
    options: dict[str, object] = field(factory=dict, metadata=key(Options(), "keyword arguments of the class"))


@frozen(eq=False, repr=False)
class VirtioBalloon(VirtioModel):
    """Virtio memory balloon: the guest returns memory to the host, and reports free pages."""

    size: int | None = field(
        default=None,
        metadata=key(
            Size(layout.PAGE, 1 << 44, layout.PAGE),
            "how much memory vmrun asks the guest to return at the start; not given: none",
        ),
    )


@frozen(eq=False, repr=False)
class VirtioFS(ServedElsewhere):
    """Virtio file system: a folder of the host, served by virtiofsd, which vmrun starts."""

    path: Path = field(metadata=key(File(), "the folder"))
    tag: str = field(metadata=key(Tag(), "the name by which the guest mounts it: mount -t virtiofs TAG /mnt"))
    cache: str = field(
        default="auto",
        metadata=key(
            Choice("auto", "always", "none"),
            "how long the guest keeps what it has read: auto: for a second; always: until it needs the memory, if "
            "nobody else changes the folder; none: not at all",
        ),
    )
    lost: str = field(default="end", metadata=LOST)


@frozen(eq=False, repr=False)
class VhostUser(ServedElsewhere):
    """A virtio device of any kind, which another process serves by the vhost-user protocol."""

    ONE_OF: ClassVar[tuple[str, ...]] = ("socket", "command")

    number: int = field(
        metadata=key(
            Integer(1, 63), "the number of the device's kind, which selects the driver (2: block)", name="virtio-id"
        )
    )
    socket: Path | None = field(default=None, metadata=key(File(), "the Unix socket on which the process listens"))
    command: tuple[str, ...] | None = field(
        default=None,
        metadata=key(
            Many(Text(line=True)),
            "the program and arguments that start the process, in the spec's folder. vmrun replaces {listener} by the "
            "number of a descriptor that listens, {connection} by that of a connected one, {socket} by a path to "
            "listen on",
        ),
    )
    queues: int = field(default=1, metadata=key(Integer(1, 63), "number of queues"))
    size: int = field(
        default=256, metadata=key(Integer(1, 1024, power=True), "longest size of each queue", name="queue-size")
    )
    configuration: int = field(
        default=0,
        metadata=key(Integer(0, 256), "bytes of the configuration space that the process provides", name="config-size"),
    )
    lost: str = field(default="end", metadata=LOST)

    def faults(self) -> Iterator[tuple[KeyPath, str]]:
        if self.command is not None and not any(name in word for word in self.command for name in DESCRIPTORS):
            yield ("command",), f"no word says where the process is connected: give one with {', '.join(DESCRIPTORS)}"


Virtio = (
    VirtioRng
    | VirtioConsole
    | VirtioBlk
    | VirtioNet
    | VirtioVsock
    | VirtioPmem
    | VirtioPython
    | VirtioBalloon
    | VirtioFS
    | VhostUser
)
Device = Serial | I8042 | RTC | ACPI | DebugPort | PostPort | DebugExit | Pvpanic | Python | PCIHost | Virtio

KINDS: dict[str, type[Device]] = {
    "serial": Serial,
    "i8042": I8042,
    "rtc": RTC,
    "acpi": ACPI,
    "debug-port": DebugPort,
    "post-port": PostPort,
    "debug-exit": DebugExit,
    "pvpanic": Pvpanic,
    "python": Python,
    "pci-host": PCIHost,
    "virtio-rng": VirtioRng,
    "virtio-console": VirtioConsole,
    "virtio-blk": VirtioBlk,
    "virtio-net": VirtioNet,
    "virtio-vsock": VirtioVsock,
    "virtio-pmem": VirtioPmem,
    "virtio-python": VirtioPython,
    "virtio-balloon": VirtioBalloon,
    "virtio-fs": VirtioFS,
    "vhost-user": VhostUser,
}
