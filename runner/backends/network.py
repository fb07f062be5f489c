"""The back ends of network devices on this host: a tap device, a Unix socket, or user-mode networking."""

import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runner.backends.capture import Capture
from runner.backends.errors import BackendError
from runner.backends.unixsocket import Listener, connected
from runner.devices.services import Native
from runner.native._native import ffi, lib
from vmspec.registers import virtio as R
from vmspec.trace.frames import COUNTS, DROPPED, MOVED

# linux/if_tun.h, linux/sockios.h, linux/if.h
TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
IFF_TAP, IFF_NO_PI, IFF_MULTI_QUEUE, IFF_VNET_HDR = 0x0002, 0x1000, 0x0100, 0x4000
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFMTU = 0x8913, 0x8914, 0x8922
IFF_UP = 1
SLIRP_MTU = 65521  # libslirp's longest packet (IF_MTU_MAX)
# What the kernel may leave to the guest, by the feature that the driver accepts for it.
OFFLOADS = ((R.NET_GUEST_CSUM, 0x01), (R.NET_GUEST_TSO4, 0x02), (R.NET_GUEST_TSO6, 0x04), (R.NET_GUEST_ECN, 0x08))
SEGMENTS = R.NET_HOST_TSO4 | R.NET_HOST_TSO6 | R.NET_HOST_ECN
SEGMENTS |= R.NET_GUEST_TSO4 | R.NET_GUEST_TSO6 | R.NET_GUEST_ECN


class Served:
    """The queues that C serves for a device; see :class:`runner.devices.virtio.net.Link`."""

    features = 0
    _capture: Capture | None = None

    def __init__(self, backend: Any, pairs: int) -> None:
        """Raises BackendError."""
        net = lib.net_new(pairs, backend)
        if not net:
            raise BackendError("", "no memory for its queues")
        self.net = ffi.gc(net, lib.free)
        self.native = Native(ffi.addressof(lib, "worker_net"), self.net)

    @property
    def up(self) -> bool:
        """Whether there is another side."""
        return bool(self.net.up)

    @property
    def pairs(self) -> int:
        """Of queues that the driver uses."""
        return int(self.net.pairs)

    @pairs.setter
    def pairs(self, pairs: int) -> None:
        lib.net_use(self.net, pairs)

    def begin(self, features: int) -> None:
        """The driver is ready."""
        self.agree(features)
        lib.net_begin(self.net, features)

    def agree(self, features: int) -> None:
        """Have the host give frames as the driver has accepted them. C may run."""

    def room(self) -> int:
        """No frames are given: C takes them from the backend."""
        return 0

    def give(self, frame: bytes) -> None:
        """It is lost."""

    @property
    def waiting(self) -> bytes:
        """None of those given."""
        return b""

    def reset(self) -> None:
        """Forget the driver."""
        lib.net_reset(self.net)

    def captured(self, capture: Capture) -> None:
        """Capture each frame. C does not run yet."""
        self._capture, self.net.capture = capture, capture.native

    def look(self) -> None:
        """Report what C has met."""
        if self._capture is not None:
            self._capture.look()

    def counts(self) -> dict[str, int]:
        """What became of frames, as :mod:`vmspec.trace.frames` has it."""
        return {name: getattr(self.net.counts, name) for name in COUNTS}

    def close(self) -> None:
        """Complete the capture. C rests."""
        if self._capture is not None:
            counts = self.counts()
            self._capture.close(*(sum(counts[name] for name in names) for names in (MOVED, DROPPED)))
            self.net.capture, self._capture = ffi.NULL, None


class Tap(Served):
    """A tap device of the kernel's. It does checksums and segments for the guest (tuntap.rst, IFF_VNET_HDR).

    One that is there already stays as it was. One that is not is made, if vmrun may, and brought up; it goes with the
    last of its descriptors, however vmrun ends."""

    features = R.NET_CSUM | R.NET_GUEST_CSUM | SEGMENTS

    def __init__(self, name: str, queues: int, mtu: int | None) -> None:
        """Raises BackendError."""
        super().__init__(ffi.addressof(lib, "net_tap"), queues)
        self._fds: list[int] = []
        made = not _there(name)
        try:
            for pair in range(queues):
                name = self._open(name, queues > 1)
                lib.net_attach(self.net, pair, self._fds[-1])
            if made:
                _bring_up(name, mtu)
        except OSError as error:
            self.close()
            raise BackendError("tap", f"cannot use the tap {name}: {_why(error, name, made, queues)}") from error

    def _open(self, name: str, several: bool) -> str:
        """Open a queue of it; return its name, which the kernel completes where it has a %d."""
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._fds.append(fd)
        flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (IFF_MULTI_QUEUE if several else 0)
        done = fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", lib.NET_HEADER))
        fcntl.ioctl(fd, TUNSETOFFLOAD, 0)
        return done[:16].rstrip(b"\0").decode()

    def agree(self, features: int) -> None:
        offloads = sum(flag for feature, flag in OFFLOADS if features & feature)
        with contextlib.suppress(OSError):  # it was deleted
            for fd in self._fds[:1]:  # they belong to the device, not to the queue
                fcntl.ioctl(fd, TUNSETOFFLOAD, offloads)

    def close(self) -> None:
        super().close()
        while self._fds:
            os.close(self._fds.pop())


def _there(name: str) -> bool:
    """Whether this network namespace has such an interface; /sys may show another one's."""
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def _bring_up(name: str, mtu: int | None) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        if mtu is not None:
            fcntl.ioctl(control, SIOCSIFMTU, struct.pack("16si20x", name.encode(), mtu))
        request = fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sH22x", name.encode(), 0))
        (flags,) = struct.unpack_from("H", request, 16)
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags | IFF_UP))


def _why(error: OSError, name: str, made: bool, queues: int) -> str:
    """What to do where the kernel refuses."""
    kind = " multi_queue" if queues > 1 else ""
    match error.errno:
        case errno.ENOENT | errno.ENODEV | errno.ENXIO if error.filename is not None:
            return "this host has no /dev/net/tun: load the kernel's module tun (modprobe tun)"
        case errno.EACCES if error.filename is not None:
            return "/dev/net/tun cannot be opened: give this user read and write access to it"
        case errno.EPERM if made:
            return (
                "there is none, and making one needs CAP_NET_ADMIN: "
                f"make it for this user (sudo ip tuntap add {name} mode tap{kind} user $USER; "
                f"sudo ip link set {name} up)"
            )
        case errno.EPERM:
            return f"it belongs to another user: make it for this one (ip tuntap add {name} mode tap{kind} user $USER)"
        case errno.EBUSY:
            return "another program uses it: give each device a tap of its own"
        case errno.EINVAL if not made:
            return (
                f"it is not a tap device, or was not made for {queues} queue{'s' * (queues > 1)}: "
                f"make it with: ip tuntap add NAME mode tap{kind}"
            )
        case _:
            return os.strerror(error.errno or 0)


class Stream(Served):
    """A Unix stream socket, on which each frame follows its length: connected to a program that listens, or ``listens``
    for one after the other. Frames have no header there, so the guest does its checksums and segments itself."""

    def __init__(self, path: Path, listens: bool) -> None:
        """Raises BackendError."""
        super().__init__(ffi.addressof(lib, "net_stream"), 1)
        self._listener = Listener(path, "listen") if listens else None
        fd = os.dup(self._listener.fileno()) if self._listener else connected(path, "stream").detach()
        os.set_blocking(fd, False)
        if failed := lib.net_stream_open(self.net, fd, listens):
            os.close(fd)
            self.close()
            raise BackendError("listen" if listens else "stream", f"{path}: {os.strerror(failed)}")

    def close(self) -> None:
        super().close()
        lib.net_stream_close(self.net)
        if self._listener is not None:
            self._listener.close()


class User(Served):
    """User-mode networking by libslirp: the guest is 10.0.2.15, by DHCP, behind a router, 10.0.2.2, which is this host
    too; 10.0.2.3 is its DNS server. No privilege is needed: what the guest sends leaves by sockets of this process."""

    def __init__(self, forwards: Sequence[str], restricted: bool, mtu: int | None) -> None:
        """``forwards`` as :class:`vmspec.schema.network_values.Forward` has them. Raises BackendError."""
        super().__init__(ffi.addressof(lib, "net_user"), 1)
        error = lib.net_user_open(self.net, restricted, min(mtu or 0, SLIRP_MTU))
        if error != ffi.NULL:
            said = ffi.string(error).decode(errors="replace")
            raise BackendError("", f"user-mode networking needs libslirp (Debian: apt-get install libslirp0): {said}")
        for forward in forwards:
            protocol, address, port, guest_port = forward.split(":")
            host = int.from_bytes(socket.inet_aton(address), "big")
            failed = lib.net_user_forward(self.net, protocol == "udp", host, int(port), 0, int(guest_port))
            if failed:
                self.close()
                raise BackendError("forward", f"cannot forward {forward}: {_why_not_forwarded(failed)}")

    def close(self) -> None:
        super().close()
        lib.net_user_close(self.net)


def _why_not_forwarded(error: int) -> str:
    """What to do where the kernel refuses the host's side of a forward."""
    match error:
        case errno.EADDRINUSE:
            return "another program listens there: give another port of this host"
        case errno.EADDRNOTAVAIL:
            return "this host has no such address: give one of its own, or 0.0.0.0 for all"
        case errno.EACCES:
            return "the port is privileged (net.ipv4.ip_unprivileged_port_start): give a higher one"
        case _:
            return os.strerror(error)


def features(options: Mapping[str, Any]) -> int:
    """What the backend of a device with these options adds to the device's features."""
    return Tap.features if options["tap"] is not None else Served.features


def opened(options: Mapping[str, Any]) -> Served:
    """The backend of a virtio-net device with these options. Raises BackendError."""
    match options:
        case {"tap": str(name)}:
            return Tap(name, options["queues"], options["mtu"])
        case {"stream": str() | Path() as path}:
            return Stream(Path(path), listens=False)
        case {"listen": str() | Path() as path}:
            return Stream(Path(path), listens=True)
        case _:
            return User(options["forward"], options["restrict"], options["mtu"])
