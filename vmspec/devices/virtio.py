"""The models of virtio devices that vmrun itself serves."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from attrs import field, frozen

from vmspec import layout
from vmspec.devices.device import DeviceModel
from vmspec.devices.regions import Region
from vmspec.registers import virtio, virtio_console, virtiopci
from vmspec.schema.guest_values import ClassName, Options, PortName
from vmspec.schema.keypath import KeyPath
from vmspec.schema.tables import Tables
from vmspec.schema.value import Model, key
from vmspec.schema.values import Choice, File, Integer, Size

# A Unix address has 107 bytes, of which the number of a descriptor and that of a port take some.
SOCKET_NAME = 75


@frozen(eq=False, repr=False)
class VirtioModel(DeviceModel):
    """Base of the virtio devices. The planner places their registers and chooses their interrupts."""

    NOT_HERE: ClassVar[dict[str, str]] = {
        "notify": "unknown key: only devices whose queues C or another process serves have it"
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


Device = VirtioRng | VirtioConsole | VirtioVsock | VirtioPmem | VirtioPython | VirtioBalloon

KINDS: dict[str, type[Device]] = {
    "virtio-rng": VirtioRng,
    "virtio-console": VirtioConsole,
    "virtio-vsock": VirtioVsock,
    "virtio-pmem": VirtioPmem,
    "virtio-python": VirtioPython,
    "virtio-balloon": VirtioBalloon,
}
