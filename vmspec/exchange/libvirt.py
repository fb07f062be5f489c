"""A libvirt domain in XML as a draft (libvirt, docs/formatdomain.rst)."""

from pathlib import Path

from vmspec.exchange import xmltree
from vmspec.exchange.draft import NOTHING, Draft, FileName, Part, file_name
from vmspec.exchange.sizes import size, whole
from vmspec.exchange.tree import Node
from vmspec.image.foreign import CONTAINERS
from vmspec.plan.features import FEATURES
from vmspec.registers import pvpanic
from vmspec.schema.units import format_size

TOOL = "libvirt"
NO_DISPLAY = "vmrun has no display"
NO_LOADER = "libvirt chooses the firmware's files itself: give them as loader and nvram"
PLACE = "vmrun chooses the device's place on its bus"
REASONS = {
    **dict.fromkeys(("input", "graphics", "video"), NO_DISPLAY),
    **dict.fromkeys(("sound", "audio", "watchdog", "tpm", "hostdev", "redirdev", "smartcard", "hub", "parallel",
                     "iommu", "shmem", "crypto"), "vmrun has no such device"),
    **dict.fromkeys(("loader", "nvram", "@firmware", "firmware"), NO_LOADER),
    "@secure": "vmrun has no system management mode",
    **dict.fromkeys(("boot", "bootmenu", "bios"), "the firmware decides from what it boots"),
    **dict.fromkeys(("uuid", "sysinfo", "smbios"), "the guest has no SMBIOS tables"),
    **dict.fromkeys(("address", "controller"), PLACE),
    **dict.fromkeys(("alias", "title", "description", "metadata"), "it is for libvirt"),
    **dict.fromkeys(("topology", "numa", "cache", "maxphysaddr"), "the guest sees no core topology"),
    **dict.fromkeys(("cputune", "iotune", "bandwidth", "memtune", "blkiotune", "numatune", "resource", "iothreads",
                     "iothreadids", "seclabel", "rate"), "leave limits and rights to what starts vmrun"),
    **dict.fromkeys(("maxMemory", "@current", "currentMemory"), "vmrun has no hotplug"),
    **dict.fromkeys(("on_poweroff", "on_reboot", "on_crash", "pm"), "a run of vmrun ends with the guest"),
    **dict.fromkeys(("timer", "hyperv", "kvm", "pae", "vmport", "smm"), "vmrun has KVM's defaults"),
    "emulator": "vmrun runs the machine itself",
    "model": "cpu.model takes a model, which vmspec cpuid writes",
}  # fmt: skip


def of_text(text: str, file: Path | None) -> Draft:
    """The machine of a domain. Raises SpecError if the text is not one, or has a document type."""
    root = xmltree.parse(text, file, "domain")
    draft = Draft(TOOL)
    draft.vm.set("name", _text(root.get("name")) or "guest")
    _kind(draft, root)
    features = root.get("features") or Node("features")
    micro = _system(draft, root)
    devices = root.get("devices") or Node("devices")
    if not micro:
        draft.device("i8042")
        draft.device("rtc")
    if (acpi := features.get("acpi")) is not None:
        draft.device("acpi", acpi)
        if (generation := root.get("genid")) is not None:
            part = draft.device("vmgenid", generation)
            if generation.value is not None:
                part.remark(generation, "vmrun makes the id")
    features.get("apic")
    _processors(draft, root)
    _memory(draft, root)
    if (clock := root.get("clock")) is not None:
        clock.means("@offset", "utc")
        draft.vm.leave(clock, {"@offset": "the clock has UTC", **REASONS})
    for name in ("on_poweroff", "on_reboot", "on_crash"):
        root.means(name, "destroy")
    for node in list(devices.children):
        _device(draft, node)
    draft.vm.leave(features, REASONS)
    for node in list(root.left()):
        draft.remark(node, REASONS.get(node.name, NOTHING))
    return draft


def _text(node: Node | None) -> str | None:
    return None if node is None or node.value is None else str(node.value)


def _kind(draft: Draft, root: Node) -> None:
    root.means("@type", "kvm")
    for part in list(root.children):
        if part.name == "@type" and not part.taken:
            draft.vm.remark(part, "vmrun runs on KVM")
        if part.name in ("@id",) or part.name.startswith("@xmlns"):
            part.taken = True


def _system(draft: Draft, root: Node) -> bool:
    node = root.get("os") or Node("os")
    kind = node.get("type") or Node("type")
    kind.means("@arch", "x86_64")
    machine = kind.string("@machine", default="pc")
    micro = machine == "microvm"
    if not micro:
        draft.vm.set("transport", "pci", kind)
    boot = draft.boot
    boot.file("kernel", node.get("kernel"))
    boot.file("initrd", node.get("initrd"))
    loader = node.peek("loader")
    if loader is not None and loader.string("@type", default="rom") in ("rom", "pflash"):
        loader.means("@readonly", "yes")
        loader.means("@secure", "no")
        boot.file("firmware", node.get("loader"))
        boot.leave(loader, REASONS)
        if (variables := node.peek("nvram")) is not None and variables.value:
            part = draft.device("flash", variables)
            part.file("path", node.get("nvram"))
            part.file("template", variables.get("@template"))
            part.leave(variables, REASONS)
    boot.set("cmdline", _text(line := node.get("cmdline")), line)
    boot.leave(node, {"@arch": "vmrun runs x86-64 guests", **REASONS})
    return micro


def _processors(draft: Draft, root: Node) -> None:
    node = root.get("vcpu")
    found = whole(_text(node) or "1")
    draft.vm.set("vcpus", _text(node) if found is None else found, node)
    if node is not None:
        node.means("@placement", "static")
        draft.vm.leave(node, {"@cpuset": REASONS["cputune"], **REASONS})
    if (cpu := root.get("cpu")) is None:
        return
    cpu.means("@mode", "host-passthrough", "host-model", "maximum")
    cpu.get("@check", "@match")
    cpu.get("@migratable")
    disabled = []
    for feature in cpu.children:
        name = feature.peek("@name")
        known = "" if name is None else str(name.value).replace("-", "_")
        if feature.name == "feature" and known in FEATURES and feature.means("@policy", "disable", "forbid"):
            feature.claim()
            disabled.append(known)
    draft.cpu.set("disable", disabled or None, cpu)
    draft.cpu.leave(cpu, {"@mode": REASONS["model"], **REASONS})


def _memory(draft: Draft, root: Node) -> None:
    node = root.get("memory")
    current = root.peek("currentMemory")
    if node is None:
        draft.vm.set("memory", None)
    else:
        unit = node.string("@unit", default="KiB")
        decimal = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
        number = whole(_text(node) or "")
        amount = number * decimal[unit] if number is not None and unit in decimal else None
        amount = (
            size(_text(node) or "", unit.removesuffix("iB") if unit not in ("b", "bytes") else "b")
            if amount is None
            else amount
        )
        if amount is None:
            draft.wrong(node, "is not a size", _text(node), "a number in a unit such as KiB or MiB")
        else:
            draft.vm.set("memory", format_size(amount), node)
        if current is not None and current.value == node.value:
            current.claim()
        draft.vm.leave(node, REASONS)
    if (backing := root.get("memoryBacking")) is not None:
        if backing.get("hugepages") is not None:
            draft.memory.set("pages", "hugetlbfs", backing)
        if (source := backing.get("source")) is not None and source.means("@type", "memfd"):
            draft.memory.set("backing", "memfd", source)
        if (access := backing.get("access")) is not None:
            access.means("@mode", "shared", "private")
        if backing.get("locked") is not None:
            draft.memory.set("locked", True, backing)
        if (allocation := backing.get("allocation")) is not None and allocation.means("@mode", "immediate"):
            draft.memory.set("prefault", True, allocation)
        draft.memory.leave(backing)


def _device(draft: Draft, node: Node) -> None:
    kind = node.peek("@type")
    match node.name, None if kind is None else kind.value:
        case "disk", _:
            part = _disk(draft, node)
        case "interface", _:
            part = _interface(draft, node)
        case "serial" | "console" | "channel", _:
            part = _console(draft, node)
        case "rng", _:
            part = draft.device("virtio-rng", node)
            node.get("@model")
            if (backend := node.get("backend")) is not None:
                backend.means("@model", "random", "builtin")
                if backend.value in ("/dev/urandom", "/dev/random", "/dev/hwrng", None):
                    backend.value = None
        case "memballoon", _:
            if node.means("@model", "none"):
                node.claim()
                return
            part = draft.device("virtio-balloon", node)
            node.get("@model")
            node.means("@freePageReporting", "on")
        case "vsock", _:
            part = draft.device("virtio-vsock", node)
            part.set("path", FileName("guest.sock"))
            part.comment("programs of the host use this Unix socket, not AF_VSOCK")
            node.get("@model")
            if (cid := node.get("cid")) is not None:
                cid.means("@auto", "no", "yes")
                address = cid.get("@address")
                part.set("cid", None if address is None else whole(str(address.value)) or str(address.value), address)
        case "filesystem", _:
            part = _filesystem(draft, node)
        case "panic", _:
            part = draft.device("pvpanic", node)
            node.means("@model", "isa")
            address = node.get("address")
            if address is not None:
                address.means("@type", "isa")
                port = address.get("@iobase")
                part.set("port", pvpanic.PORT if port is None else whole(str(port.value)) or str(port.value), port)
        case "memory", _ if node.means("@model", "virtio-pmem"):
            part = draft.device("virtio-pmem", node)
            node.get("@access")
            part.file("path", (node.get("source") or Node("source")).get("path"))
            (node.get("target") or Node("target")).get("size")
        case _:
            return
    node.taken = True
    if part is not None:
        _transport(draft, part, node)
        part.leave(node, REASONS)


def _transport(draft: Draft, part: Part, node: Node) -> None:
    address = node.peek("address")
    kind = None if address is None else address.peek("@type")
    wanted = None if kind is None else {"virtio-mmio": "mmio", "pci": "pci"}.get(str(kind.value))
    if (
        wanted
        and part.kind is not None
        and part.kind.startswith("virtio-")
        and wanted != (draft.vm.get("transport") or "mmio")
    ):
        part.set("transport", wanted, address)
    if address is not None and wanted == "mmio":
        address.claim()


def _disk(draft: Draft, node: Node) -> Part | None:
    target = node.get("target") or Node("target")
    if not target.means("@bus", "virtio"):
        draft.remark(node, "vmrun has no IDE, SATA, SCSI or USB disks: use bus='virtio'")
        return None
    target.get("@dev")
    source = node.get("source")
    path = None if source is None else source.get("@file", "@dev")
    for name in ("@type", "@device"):
        node.get(name)
    if path is None:
        draft.remark(node, "it has no file or block device of this host")
        return None
    part = draft.device("virtio-blk", node)
    part.file("path", path)
    driver = node.get("driver") or Node("driver")
    driver.means("@name", "qemu")
    if (form := driver.get("@type")) is not None:
        part.set("format", None if form.value == "raw" else str(form.value), form)
        if form.value not in ("raw", *CONTAINERS):
            del part.values["format"]
            part.remark(form, f"vmrun has raw images, and {', '.join(CONTAINERS)}")
    cache = driver.peek("@cache")
    if cache is not None and driver.means("@cache", "none", "writethrough", "directsync", "writeback", "default"):
        part.set("direct", cache.value in ("none", "directsync") or None, cache)
        part.set("cache", "writethrough" if cache.value in ("writethrough", "directsync") else None, cache)
    driver.means("@discard", "unmap")
    if (queues := driver.get("@queues")) is not None:
        part.set("queues", whole(str(queues.value)) or str(queues.value), queues)
    if (readonly := node.get("readonly")) is not None:
        part.set("mode", "ro", readonly)
    elif (transient := node.get("transient")) is not None:
        part.set("mode", "overlay", transient)
        part.values.pop("direct", None)
    if (serial := node.get("serial")) is not None and part.get("format") is None:
        part.set("serial", _text(serial), serial)
    elif serial is not None:
        part.remark(serial, "qemu-storage-daemon, which serves the image, has none")
    if (io := node.get("blockio")) is not None and (block := io.get("@logical_block_size")) is not None:
        part.set("block-size", whole(str(block.value)) or str(block.value), block)
    part.leave(driver, {"@io": "vmrun chooses how it reads and writes", **REASONS})
    return part


def _interface(draft: Draft, node: Node) -> Part | None:
    model = node.get("model")
    if model is None or not model.means("@type", "virtio", "virtio-non-transitional"):
        draft.remark(node, "vmrun has no such network card: use <model type='virtio'/>")
        return None
    kind = node.string("@type")
    target = node.get("target")
    name = None if target is None else target.get("@dev")
    part = Part("virtio-net", node)
    match kind:
        case "user":
            backend = node.get("backend")
            if backend is not None and backend.means("@type", "passt"):
                part.comment("libvirt starts passt; here it is vmrun's own user mode")
            part.set("forward", _forwards(draft, node) or None, node)
        case "ethernet" | "bridge" | "network":
            part.set("tap", "tap%d" if name is None else str(name.value), name)
            source = node.get("source")
            if source is not None:
                part.remark(source, "add the tap to the bridge: ip link set TAP master BRIDGE")
            if target is not None:
                target.means("@managed", "no", "yes")
        case _:
            draft.remark(node, "vmrun has taps, user mode, and Unix stream sockets")
            return None
    draft.devices.append(part)
    if (mac := node.get("mac")) is not None:
        part.set("mac", mac.string("@address"), mac)
    if (mtu := node.get("mtu")) is not None and (amount := mtu.get("@size")) is not None:
        part.set("mtu", whole(str(amount.value)) or str(amount.value), mtu)
    if (driver := node.get("driver")) is not None:
        driver.means("@name", "qemu", "vhost")
        if (queues := driver.get("@queues")) is not None:
            part.set("queues", whole(str(queues.value)) or str(queues.value), driver)
    return part


def _forwards(draft: Draft, node: Node) -> list[str]:
    made = []
    for forward in node.all("portForward"):
        protocol = forward.string("@proto", default="tcp")
        address = forward.string("@address", default="0.0.0.0")
        for ports in forward.all("range"):
            start = ports.string("@start")
            made.append(f"{protocol}:{address}:{start}:{ports.string('@to', default=start)}")
    return made


def _console(draft: Draft, node: Node) -> Part | None:
    """A serial port, a virtio console, or a port of the last virtio console."""
    target = node.get("target") or Node("target")
    kind = target.string("@type", default="serial" if node.name == "serial" else "")
    number = whole(target.string("@port", default="0")) or 0
    for model in target.all("model"):
        model.claim()
    if node.name == "console" and kind in ("", "serial"):
        if any(part.kind == "serial" for part in draft.devices):
            node.claim()  # the same serial port once more
            return None
        kind = "serial"
    if node.name == "channel":
        return _channel(draft, node, target)
    if kind in ("serial", "isa-serial"):
        part = draft.serial(node, number + 1)
    elif kind == "virtio":
        part = draft.device("virtio-console", node)
    else:
        draft.remark(node, "vmrun has ISA serial ports and virtio consoles")
        return None
    if part is not None:
        _ends(draft, part, node)
    return part


def _channel(draft: Draft, node: Node, target: Node) -> Part | None:
    name = target.get("@name")
    if target.peek("@type") is not None and target.means("@type", "virtio") is False and name is None:
        draft.remark(node, "vmrun has channels of virtio only")
        return None
    part = next((part for part in draft.devices if part.kind == "virtio-console"), None)
    if part is None:
        part = draft.device("virtio-console", node)
        part.set("input", "none")
        part.set("output", "none")
    end = Part(None, node)
    _ends(draft, end, node, terminal=False)
    ports = part.get("ports") or []
    port = {"name": f"port{len(ports)}" if name is None else str(name.value)}
    part.set("ports", [*ports, {**port, **{key: given.value for key, given in end.values.items()}}], node)
    part.remarks += end.remarks
    target.get("@state")
    part.leave(node, REASONS)
    return None


def _ends(draft: Draft, part: Part, node: Node, terminal: bool = True) -> None:
    kind = node.string("@type", default="pty")
    source = node.get("source")
    path = None if source is None else source.get("@path")
    part.set("input", "none")
    part.set("output", "none")
    match kind:
        case "stdio" | "pty" if terminal:
            part.set("input", draft.stdin(part))
            part.set("output", "stdout")
            if kind == "pty":
                part.comment("libvirt gives it a pty, for virsh console; here it is the terminal")
        case "file" if path is not None:
            output = "stdout" if path.value == "/dev/stdout" else file_name(str(path.value))
            part.set("output", output, source)
        case "pipe" if path is not None:
            part.set("input", FileName(f"{path.value}.in"), source)
            part.set("output", FileName(f"{path.value}.out"), source)
        case "null":
            pass
        case _:
            said = source or next((child for child in node.children if child.name == "@type"), node)
            part.remark(said, "a console of vmrun uses the terminal or files")
    node.get("protocol")


def _filesystem(draft: Draft, node: Node) -> Part | None:
    source = node.get("source")
    target = node.get("target")
    path = None if source is None else source.get("@dir")
    if path is None or target is None:
        draft.remark(node, "vmrun shares folders of this host only")
        return None
    part = draft.device("virtio-fs", node)
    part.file("path", path, str(path.value).rstrip("/") or "/.")
    part.set("tag", tag := target.string("@dir"), target)
    node.means("@type", "mount")
    node.means("@accessmode", "passthrough", "mapped", "squash")
    driver = node.get("driver")
    if driver is None or not driver.means("@type", "virtiofs"):
        part.remark(Node("9p", label=node.label, text=f"{node.text}: 9p", place=node.place),
                    f"the guest mounts it with: mount -t virtiofs {tag} FOLDER")  # fmt: skip
    return part
