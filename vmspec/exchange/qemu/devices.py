"""QEMU's -device: each kind that vmrun has, too."""

import re

from vmspec.exchange.draft import Draft, Part, file_name
from vmspec.exchange.qemu import networks
from vmspec.exchange.qemu.backends import DISK_REASONS, Host, character, disk
from vmspec.exchange.qemu.networks import number
from vmspec.exchange.tree import Node
from vmspec.registers import pvpanic, serial

ON_BUS_0 = "all PCI devices are on bus 0"
REASONS = {
    **DISK_REASONS,
    **dict.fromkeys(("bus", "addr", "multifunction", "acpi-index"), "vmrun chooses the device's place on its bus"),
    **dict.fromkeys(("disable-legacy", "disable-modern"), "vmrun's devices are modern ones (virtio 1.2)"),
    **dict.fromkeys(("packed", "event_idx", "indirect_desc", "iommu_platform"), "vmrun chooses the features"),
    "max-bytes": "vmrun has no rate limits",
    "period": "vmrun has no rate limits",
}
SOCKET = "guest.sock"  # where programs of the host find the guest's sockets, which QEMU has no path for


def read(draft: Draft, host: Host, node: Node, micro: bool) -> None:
    """Add the device of a -device option."""
    driver = node.string("driver")
    base, transport = _split(driver)
    if transport == ("mmio" if micro else "pci"):
        transport = None  # the machine's own
    node.get("id")
    part = Part(None, node)
    match base:
        case "virtio-net":
            networks.device(draft, host, node, transport)
            return
        case "virtio-blk":
            part = draft.device("virtio-blk", node)
            _disk(draft, part, host, node)
        case "virtio-serial":
            part = draft.device("virtio-console", node)
            part.set("input", "none")
            part.set("output", "none")
            node.get("max_ports")
        case "virtconsole" | "virtserialport":
            _port(draft, host, node, base == "virtconsole")
            return
        case "virtio-rng":
            part = draft.device("virtio-rng", node)
            _rng(part, host, node)
        case "virtio-balloon":
            part = draft.device("virtio-balloon", node)
            node.means("free-page-reporting", "on")
        case "vhost-vsock":
            part = draft.device("virtio-vsock", node)
            part.set("path", file_name(SOCKET))
            part.comment("programs of the host use this Unix socket, not AF_VSOCK")
            if (cid := node.get("guest-cid")) is not None:
                part.set("cid", number(cid), cid)
        case "virtio-pmem" if (memory := host.objects.get(node.string("memdev"))) is not None:
            part = draft.device("virtio-pmem", node)
            _memory(draft, part, memory)
        case "vhost-user-blk" if (socket := host.chardevs.get(node.string("chardev"))) is not None:
            part = draft.device("vhost-user", node)
            _vhost_user(draft, part, node, socket)
        case "vhost-user-fs":
            node.get("chardev")
            tag = node.string("tag", default="share")
            draft.remark(node, f'write kind = "virtio-fs", path, and tag = "{tag}": vmrun starts virtiofsd itself')
            return
        case "virtio-9p":
            virtfs(draft, node, host.folders.get(node.string("fsdev")))
            return
        case "isa-serial":
            _serial(draft, host, node)
            return
        case "isa-debugcon":
            part = draft.device("debug-port", node)
            _port_number(part, node, "iobase", 0xE9)
            _output(draft, part, host, node)
        case "isa-debug-exit":
            part = draft.device("debug-exit", node)
            _port_number(part, node, "iobase", 0x501)
            size = node.get("iosize")
            part.set("size", 2 if size is None else number(size), size)
        case "pvpanic":
            part = draft.device("pvpanic", node)
            _port_number(part, node, "ioport", pvpanic.PORT)
        case "vmgenid" if not any(part.kind == "acpi" for part in draft.devices):
            draft.remark(node, "the guest would find it by ACPI")
            return
        case "vmgenid":
            node.means("guid", "auto")
            part = draft.device("vmgenid", node)
        case "i8042":
            part = draft.device("i8042", node)
        case "pcie-root-port" | "pci-bridge" | "ioh3420" | "pxb-pcie" | "pcie-pci-bridge":
            draft.remark(node, ON_BUS_0)
            return
        case _:
            draft.remark(node, "vmrun has no such device")
            return
    part.set("transport", transport)
    part.leave(node, REASONS)


def _split(driver: str) -> tuple[str, str | None]:
    """A driver's name without its bus, and the transport that it names."""
    found = re.fullmatch(r"(.*?)-(pci|device)((?:-non)?-transitional)?", driver)
    if found is None or driver == "pvpanic-pci":
        return driver, None
    return found[1], "pci" if found[2] == "pci" else "mmio"


def _disk(draft: Draft, part: Part, host: Host, node: Node) -> None:
    drive = node.get("drive")
    if drive is None or drive.value not in host.drives:
        draft.wrong(drive or node, "there is no -drive with this id", None if drive is None else str(drive.value))
        return
    if (name := node.get("serial")) is not None:
        part.set("serial", str(name.value), name)
    if (queues := node.get("num-queues")) is not None:
        part.set("queues", number(queues), queues)
    if (block := node.get("logical_block_size")) is not None:
        part.set("block-size", number(block), block)
    if (cache := node.peek("write-cache")) is not None and node.means("write-cache", "on", "off", "auto"):
        part.set("cache", "writethrough" if cache.value == "off" else None, cache)
    node.means("scsi", "off")
    disk(draft, part, host, host.drives[str(drive.value)])
    if name is not None and part.get("format") not in (None, "raw"):
        del part.values["serial"]
        part.remark(name, "qemu-storage-daemon, which serves the image, has none")


def _port(draft: Draft, host: Host, node: Node, console: bool) -> None:
    """A console or a port of the virtio-serial device that came last."""
    part = next((part for part in reversed(draft.devices) if part.kind == "virtio-console"), None)
    if part is None:
        draft.remark(node, "there is no virtio-serial device before it")
        return
    for name in ("bus", "nr"):
        node.get(name)
    ports = part.get("ports") or []
    end = Part(None, node)
    chardev = node.get("chardev")
    if chardev is not None:
        character(draft, end, host, str(chardev.value), chardev)
    if console:
        if part.get("output") != "none" or part.get("input") != "none":
            draft.remark(node, "a virtio-console has one console: give the others as further devices")
            return
        node.get("name")
        for key, given in end.values.items():
            part.set(key, given.value, given.node)
    else:
        name = node.string("name", default=f"port{len(ports)}")
        part.set("ports", [*ports, {"name": name, **{key: given.value for key, given in end.values.items()}}], node)
    part.remarks += end.remarks
    part.leave(node, REASONS)


def _rng(part: Part, host: Host, node: Node) -> None:
    source = node.get("rng")
    backend = host.objects.get(str(source.value)) if source is not None else None
    if backend is not None:
        backend.taken = True
        for name in ("id", "qom-type"):
            backend.get(name)
        backend.means("filename", "/dev/urandom", "/dev/random", "/dev/hwrng")
        part.leave(backend)


def _memory(draft: Draft, part: Part, memory: Node) -> None:
    memory.taken = True
    for name in ("qom-type", "id", "size"):
        memory.get(name)
    memory.means("share", "off")
    memory.means("readonly", "on", "off")
    if (path := memory.get("mem-path")) is None:
        draft.wrong(memory, "names no file: give mem-path")
        return
    part.file("path", path)
    part.leave(memory, {"share": "the guest's writes go to private memory and end with the run"})


def _vhost_user(draft: Draft, part: Part, node: Node, socket: Node) -> None:
    """A disk that another process serves. Its configuration space has 60 bytes (virtio 1.2, 5.2.4)."""
    socket.taken = True
    for name in ("id", "backend", "reconnect"):
        socket.get(name)
    if (path := socket.get("path")) is None:
        draft.wrong(socket, "names no Unix socket: give path")
        return
    part.set("virtio-id", 2)
    part.file("socket", path)
    part.set("config-size", 60)
    if (queues := node.get("num-queues")) is not None:
        part.set("queues", number(queues), queues)
    part.leave(socket)


def virtfs(draft: Draft, node: Node, folder: Node | None) -> None:
    """A folder by 9p: -device virtio-9p with its -fsdev, or -virtfs, which is both."""
    folder = folder or node
    folder.taken = True
    path, tag = folder.get("path"), node.string("mount_tag", default="share")
    if path is None or folder.string("fsdriver") != "local":
        draft.remark(node, "vmrun shares folders of this host only")
        return
    part = draft.device("virtio-fs", node)
    part.file("path", path, str(path.value).rstrip("/") or "/.")
    part.set("tag", tag)
    part.remark(Node("9p", label=node.label, text=f"{node.text}: 9p", place=node.place),
                f"the guest mounts it with: mount -t virtiofs {tag} FOLDER")  # fmt: skip
    for name in ("id", "security_model", "multidevs"):
        folder.get(name)
    part.leave(folder)
    part.leave(node)


def _serial(draft: Draft, host: Host, node: Node) -> None:
    index, base = node.get("index"), node.get("iobase")
    node.get("irq")
    com: int | str | None
    if index is not None:
        shown = number(index)
        com = shown + 1 if isinstance(shown, int) else shown
    elif base is not None:
        ports = {ports[0]: com for com, ports in serial.COMS.items()}
        shown = number(base)
        com = ports.get(shown, shown) if isinstance(shown, int) else shown
    else:
        used = [other.get("com") or 1 for other in draft.devices if other.kind == "serial"]
        com = next((com for com in serial.COMS if com not in used), 1)
    if (part := draft.serial(node, com)) is not None:
        if (name := node.get("chardev")) is not None:
            character(draft, part, host, str(name.value), name)
        part.leave(node, REASONS)


def _port_number(part: Part, node: Node, name: str, default: int) -> None:
    found = node.get(name)
    part.set("port", default if found is None else number(found), found)


def _output(draft: Draft, part: Part, host: Host, node: Node) -> None:
    """A device that only writes."""
    if (name := node.get("chardev")) is not None:
        reads = draft.reads_stdin
        character(draft, part, host, str(name.value), name)
        part.values.pop("input", None)
        draft.reads_stdin = reads
