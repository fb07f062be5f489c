"""The model of a network."""

from collections.abc import Iterator
from pathlib import Path

from attrs import field, frozen

from vmspec.devices.virtio import VirtioNative
from vmspec.schema.keypath import KeyPath
from vmspec.schema.network_values import MAC, Forward, Interface
from vmspec.schema.value import key
from vmspec.schema.values import Duration, File, Flag, Integer, Many, Size


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
            File(),
            "a Unix socket to listen on, for the same frames; the link is up while a peer is connected, and with "
            "virtual time always",
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

    latency: int | None = field(
        default=None,
        metadata=key(
            Duration(), "virtual time: how long frames take that go together in one direction; not given: 100us"
        ),
    )
    bandwidth: int | None = field(
        default=None,
        metadata=key(
            Size(1 << 20, 1 << 40),
            "virtual time: bytes a second that go over the network, after latency; not given: 128MiB",
        ),
    )

    def faults(self) -> Iterator[tuple[KeyPath, str]]:
        others = [name for name in ("tap", "stream", "listen") if getattr(self, name) is not None]
        for name in others[1:]:
            yield (name,), f"cannot be combined with {others[0]}: a device has one back end"
        for name in ("forward", "restrict"):
            if others and getattr(self, name):
                yield (name,), f"is for user-mode networking, and cannot be combined with {others[0]}"
        if self.queues > 1 and self.tap is None:
            yield ("queues",), "only a tap can have several pairs of queues"


Device = VirtioNet

KINDS: dict[str, type[Device]] = {"virtio-net": VirtioNet}
