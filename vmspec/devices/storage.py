"""The models of disks and folders, and of devices that another process serves."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from attrs import field, frozen

from vmspec import layout
from vmspec.devices.device import DeviceModel
from vmspec.devices.regions import Region
from vmspec.devices.virtio import VirtioNative
from vmspec.image.foreign import CONTAINERS as FORMATS
from vmspec.registers import flash, virtio
from vmspec.schema.guest_values import Ascii, Tag
from vmspec.schema.keypath import KeyPath
from vmspec.schema.value import key
from vmspec.schema.values import Choice, Duration, File, Flag, Integer, Many, Size, Text

# What a command's words may have of the connection with vmrun.
DESCRIPTORS = "{listener}", "{connection}", "{socket}"


class ServedElsewhere(VirtioNative):
    """Base of the devices whose queues another process may serve, by vhost-user."""

    __slots__ = ()

    @property
    def elsewhere(self) -> bool:
        """Whether one does."""
        return True


LOST = key(
    Choice("end", "reset"),
    "what happens if the process that serves it ends too early: end: the run ends with an error; reset: the device "
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
    latency: int | None = field(
        default=None,
        metadata=key(
            Duration(), "virtual time: how long requests take that the guest has sent at once; not given: 100us"
        ),
    )
    bandwidth: int | None = field(
        default=None,
        metadata=key(
            Size(1 << 20, 1 << 40),
            "virtual time: bytes a second that the disk reads or writes, after latency; not given: 1GiB",
        ),
    )

    @property
    def elsewhere(self) -> bool:
        return self.format != "raw"

    def faults(self) -> Iterator[tuple[KeyPath, str]]:
        if self.direct and self.mode == "overlay":
            yield ("direct",), "an overlay cannot bypass the page cache: give another mode"
        if self.mode == "overlay" and self.format not in ("raw", "qcow2"):
            yield ("mode",), f"an overlay needs a raw or a qcow2 image, not {self.format}: give another mode"
        if self.serial and self.elsewhere:
            yield ("serial",), "qemu-storage-daemon has no serial numbers: leave it out, or give a raw image"


@frozen(eq=False, repr=False)
class Flash(DeviceModel):
    """Flash memory, in which UEFI firmware keeps its variables. It ends where the firmware begins, or at 4 GiB; each
    further one ends where the one before it begins."""

    path: Path = field(metadata=key(File(), "the file with its contents: whole blocks of 4 KiB"))
    template: Path | None = field(
        default=None, metadata=key(File(), "the file that path begins as a copy of, if it does not exist")
    )
    mode: str = field(
        default="rw",
        metadata=key(
            Choice("rw", "overlay"),
            "where the guest's writes go: rw: to the file; overlay: to a copy that ends with the run",
        ),
    )

    def regions(self) -> tuple[Region, ...]:
        """The planner gives it its size, and its place if there is firmware."""
        return (Region("array", "mmio", flash.BLOCK, layout.FIRMWARE_END - flash.BLOCK),)


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
        default=256, metadata=key(Integer(1, 1024, power=True), "largest size of each queue", name="queue-size")
    )
    configuration: int = field(
        default=0,
        metadata=key(Integer(0, 256), "bytes of the configuration space that the process provides", name="config-size"),
    )
    lost: str = field(default="end", metadata=LOST)

    def faults(self) -> Iterator[tuple[KeyPath, str]]:
        if self.command is not None and not any(name in word for word in self.command for name in DESCRIPTORS):
            yield ("command",), f"no word passes the connection to the process: use {', '.join(DESCRIPTORS)}"


Device = VirtioBlk | Flash | VirtioFS | VhostUser

KINDS: dict[str, type[Device]] = {
    "virtio-blk": VirtioBlk,
    "flash": Flash,
    "virtio-fs": VirtioFS,
    "vhost-user": VhostUser,
}
