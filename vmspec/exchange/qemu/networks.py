"""QEMU's networks: -netdev with a device, -nic, and the old -net."""

import re

from vmspec.exchange.draft import Draft, Part, file_name
from vmspec.exchange.qemu.backends import Host
from vmspec.exchange.sizes import whole
from vmspec.exchange.tree import Node

MODELS = ("virtio", "virtio-net-pci", "virtio-net-device", "virtio-net-pci-non-transitional", "virtio-net")
FIXED = "user mode always has 10.0.2.0/24, and its DHCP and DNS servers"
SERVER = "vmrun's user mode has no such server"
REASONS = {
    **dict.fromkeys(("net", "host", "dhcpstart", "dns", "hostname", "dnssearch", "domainname", "ipv4", "ipv6"), FIXED),
    **dict.fromkeys(("ipv6-net", "ipv6-prefix", "ipv6-host", "ipv6-dns"), FIXED),
    **dict.fromkeys(("tftp", "tftp-server-name", "bootfile", "smb", "smbserver", "guestfwd"), SERVER),
    **dict.fromkeys(("script", "downscript"), "call vmrun from a script"),
    **dict.fromkeys(("vhost", "vhostforce", "vhostfd", "vhostfds", "poll-us"), "vmrun moves the frames itself"),
    **dict.fromkeys(("fd", "fds"), "vmrun opens the tap by its name"),
    "br": "add the tap to the bridge: ip link set TAP master BRIDGE",
    "sndbuf": "the tap's default applies",
}
ONLY_VIRTIO = "vmrun has no such network card: use virtio-net"
OTHER = "vmrun has taps, user mode, and Unix stream sockets"


def device(draft: Draft, host: Host, node: Node, transport: str | None) -> None:
    """A virtio-net device and its -netdev."""
    name = node.get("netdev")
    if name is None:
        draft.remark(node, "it has no netdev")
        return
    if (backend := host.netdevs.get(str(name.value))) is None:
        draft.wrong(name, "there is no -netdev with this id", str(name.value))
        return
    backend.taken = True
    backend.get("id")
    part = Part("virtio-net", node)
    part.set("transport", transport)
    if not _backend(draft, part, backend):
        draft.remark(backend, OTHER)
        draft.remark(node, "its network does not exist here")
        return
    draft.devices.append(part)
    _card(part, node)
    part.leave(node, REASONS)
    part.leave(backend, REASONS)


def nic(draft: Draft, node: Node, micro: bool) -> None:
    """A -nic, or both -net of a network: a card and its network in one option."""
    if node.peek("type") is not None and node.means("type", "none"):
        return
    model = node.get("model")
    if (model is None and not micro) or (model is not None and model.value not in MODELS):
        draft.remark(node, ONLY_VIRTIO)
        return
    for name in ("id", "name"):
        node.get(name)
    part = Part("virtio-net", node)
    if not _backend(draft, part, node):
        draft.remark(node, OTHER)
        return
    draft.devices.append(part)
    _card(part, node)
    part.leave(node, REASONS)


def _card(part: Part, node: Node) -> None:
    """What the device says of the card."""
    for name in ("id", "mq", "vectors"):
        node.get(name)
    if (mac := node.get("mac", "macaddr")) is not None:
        part.set("mac", str(mac.value), mac)
    if (mtu := node.get("host_mtu")) is not None:
        part.set("mtu", number(mtu), mtu)


def _backend(draft: Draft, part: Part, node: Node) -> bool:
    """What a network says; False if vmrun has no such network."""
    match node.string("type", default="user"):
        case "user":
            _user(draft, part, node)
        case "tap" | "bridge" as kind:
            name = node.get("ifname")
            part.set("tap", "tap%d" if name is None else str(name.value), name or node)
            for script in ("script", "downscript"):
                node.means(script, "no", "")
            node.means("vhost", "off")
            if (queues := node.get("queues")) is not None:
                part.set("queues", number(queues), queues)
            if kind == "bridge":
                node.get("helper")
        case "stream" if node.means("addr.type", "unix") and (path := node.get("addr.path")) is not None:
            listens = node.means("server", "on")
            node.means("server", "off")
            part.set("listen" if listens else "stream", file_name(str(path.value)), path)
        case _:
            return False
    return True


def _user(draft: Draft, part: Part, node: Node) -> None:
    forwards = []
    for forward in node.all("hostfwd"):
        found = re.fullmatch(r"(tcp|udp|):([^:]*):(\d{1,5})-([^:]*):(\d{1,5})", str(forward.value), re.ASCII)
        if found is None:
            draft.wrong(forward, "is not a port forward", str(forward.value), "tcp:ADDRESS:PORT-:GUEST-PORT")
            continue
        protocol, address, port, guest, guest_port = found.groups()
        if guest not in ("", "10.0.2.15"):
            part.remark(forward, "vmrun forwards to the guest's 10.0.2.15")
            continue
        forwards.append(f"{protocol or 'tcp'}:{address or '0.0.0.0'}:{port}:{guest_port}")
    part.set("forward", forwards or None, node)
    if node.means("restrict", "on", "yes", "y"):
        part.set("restrict", True, node)
    node.means("restrict", "off", "no", "n")
    node.means("ipv4", "on")
    node.means("ipv6", "on")


def number(node: Node) -> int | str:
    """A number; another text stays as it is, for the check of the spec to reject."""
    found = whole(str(node.value))
    return str(node.value) if found is None else found
