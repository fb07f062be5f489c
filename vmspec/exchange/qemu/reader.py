"""A QEMU command line as a draft: the machine, and its options in their order."""

from datetime import datetime
from pathlib import Path

from vmspec.exchange import commandline
from vmspec.exchange.draft import NOTHING, Draft
from vmspec.exchange.qemu import backends, devices, networks, options
from vmspec.exchange.qemu.backends import Host
from vmspec.exchange.qemu.networks import number
from vmspec.exchange.shell import Command
from vmspec.exchange.sizes import size
from vmspec.exchange.tree import Node
from vmspec.plan.features import FEATURES
from vmspec.registers.cpuid import VENDORS
from vmspec.schema.units import format_size

TOOL = "QEMU"
MEMORY = 128 << 20  # without -m
# QEMU's names of CPU features that Linux has another name for.
NAMES = {
    "sse3": "pni",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "tsc-deadline": "tsc_deadline_timer",
    "sha-ni": "sha_ni",
}
MACHINE_REASONS = {
    "hpet": "vmrun has no HPET", "smm": "vmrun has no system management mode", "vmport": "vmrun has no VMware port",
    "usb": options.NO_USB, "graphics": options.NO_DISPLAY, "pic": "vm.irqchip has all interrupt controllers",
    **dict.fromkeys(("kernel_irqchip", "kernel-irqchip"), "vmrun uses KVM's interrupt controllers"),
    "ioapic2": "vmrun has one I/O APIC", "mem-merge": "the host's setting applies", "nvdimm": "use virtio-pmem",
}  # fmt: skip
TOPOLOGY = dict.fromkeys(("sockets", "dies", "clusters", "cores", "threads"), "the guest sees no core topology")


def of_text(text: str, file: Path | None) -> Draft:
    """The machine of the first command of a script that runs QEMU. Raises SpecError as of_words does."""
    return of_words(commandline.of_text(text, file, options.PROGRAM, TOOL))


def of_words(words: Command) -> Draft:
    """The machine of a command line, with or without the program. Raises SpecError for one that cannot be read at all;
    other problems are the draft's."""
    words = commandline.after(words, options.PROGRAM) or words
    draft = Draft(TOOL)
    for node in commandline.computed(words):
        draft.vm.remark(node, "only a shell can expand it: write its value")
    root = options.tree(words)
    host = backends.host(root)
    micro = _machine(draft, host, root)
    _host(draft, host, root)
    _boot(draft, root)
    _devices(draft, host, root, micro)
    for node in root.left():
        draft.remark(node, options.NONE.get(node.name, NOTHING))
    return draft


def _machine(draft: Draft, host: Host, root: Node) -> bool:
    """The board; whether it is microvm, whose devices are on virtio-mmio."""
    node = root.get("machine", "M") or Node("machine")
    kind = node.string("type", default="pc")
    micro = kind == "microvm"
    if not micro:
        draft.vm.set("transport", "pci", node)
    if not micro and not kind.startswith(("pc", "q35")):
        draft.vm.remark(Node(kind, label=node.label, text=node.text, place=node.place), "here it is a machine like pc")
    acpi = root.get("no-acpi") is None and not node.means("acpi", "off")
    node.means("acpi", "on", "auto")
    if micro:
        if node.means("rtc", "on"):
            draft.device("rtc")
        node.means("rtc", "off", "auto")
        node.means("pcie", "on", "off")
        node.means("auto-kernel-cmdline", "on", "off")
    else:
        if not node.means("i8042", "off"):
            draft.device("i8042")
        draft.device("rtc")
    if acpi:
        draft.device("acpi")
    if node.means("pit", "off"):
        draft.vm.set("pit", False, node)
    node.means("pit", "on")
    node.means("i8042", "on")
    for name in ("graphics", "usb", "hpet", "vmport", "smm"):
        node.means(name, "off")
    node.means("isa-serial", "on", "off")
    _clock(draft, root)
    _memory(draft, host, root, node)
    _accelerator(draft, root, node)
    draft.vm.leave(node, MACHINE_REASONS)
    return micro


def _accelerator(draft: Draft, root: Node, machine: Node) -> None:
    root.get("enable-kvm")
    for node in root.all("accel"):
        node.means("accel", "kvm", "kvm:tcg")
        draft.vm.leave(node, {"accel": "vmrun runs on KVM"})
    if (given := machine.peek("accel")) is not None and str(given.value).split(":")[0] == "kvm":
        given.taken = True


def _clock(draft: Draft, root: Node) -> None:
    if (node := root.get("rtc")) is None:
        return
    part = next((part for part in draft.devices if part.kind == "rtc"), draft.vm)
    node.means("base", "utc")
    node.means("clock", "host")
    node.means("driftfix", "none")
    base = node.peek("base")
    if base is not None and not base.taken and base.value != "localtime" and part.kind == "rtc":
        base.taken = True
        try:
            part.set("time", datetime.fromisoformat(str(base.value)), base)
        except ValueError:
            draft.wrong(base, "is not a date and time", str(base.value), "utc, or a time such as 2006-06-17T16:01:21")
    part.leave(node, {"base": "the clock has UTC", "clock": "the clock runs as the host's", "driftfix": NOTHING})


def _memory(draft: Draft, host: Host, root: Node, machine: Node) -> None:
    node = root.get("m")
    given = None if node is None else node.get("size")
    amount = MEMORY if given is None else size(str(given.value), "m")
    if given is not None and amount is None:
        draft.wrong(given, "is not a size", str(given.value), "a size such as 512M or 2G")
    draft.vm.set("memory", format_size(amount or MEMORY), node)
    if node is not None:
        draft.vm.leave(node, dict.fromkeys(("slots", "maxmem"), "vmrun cannot hotplug memory"))
    for option in root.all("overcommit"):
        if option.means("mem-lock", "on"):
            draft.memory.set("locked", True, option)
        option.means("mem-lock", "off")
        draft.memory.leave(option)
    if (prealloc := root.get("mem-prealloc")) is not None:
        draft.memory.set("prefault", True, prealloc)
    name = machine.string("memory-backend")
    if (backend := host.objects.get(name)) is not None:
        _backing(draft, backend)


def _backing(draft: Draft, backend: Node) -> None:
    """The memory backend of the machine's RAM."""
    part = draft.memory
    backend.taken = True
    for name in ("id", "size"):
        backend.get(name)
    kind = backend.get("qom-type")
    if kind is not None and kind.value == "memory-backend-memfd":
        part.set("backing", "memfd", backend)
        backend.means("share", "on")
    elif kind is not None and kind.value == "memory-backend-ram":
        backend.means("share", "off")
    elif kind is not None:
        part.remark(kind, "the memory is anonymous or a memfd")
    if backend.means("hugetlb", "on"):
        part.set("pages", "hugetlbfs", backend)
        backend.means("hugetlbsize", "2M", "2097152")
    if backend.means("prealloc", "on"):
        part.set("prefault", True, backend)
    part.leave(backend)


def _host(draft: Draft, host: Host, root: Node) -> None:
    """The machine's name and its processors."""
    name = root.get("name")
    draft.vm.set("name", "guest" if name is None else name.string("guest", default="guest"), name)
    if name is not None:
        draft.vm.leave(name)
    if (node := root.get("smp")) is not None:
        _processors(draft, node)
    if (cpu := root.get("cpu")) is not None:
        cpu.means("model", "host", "max")
        cpu.means("host-phys-bits", "on")
        cpu.means("migratable", "off", "no")
        if (vendor := cpu.peek("vendor")) is not None and vendor.value in VENDORS:
            draft.cpu.set("vendor", str(vendor.value), cpu.get("vendor"))
        _features(draft, cpu)


def _processors(draft: Draft, node: Node) -> None:
    counts = [number(part) for name in TOPOLOGY if (part := node.peek(name)) is not None]
    cpus = node.get("cpus")
    total: int | str = 1
    if cpus is not None:
        total = number(cpus)
        for name, last in (
            ("maxcpus", str(total)),
            ("sockets", str(total)),
            ("cores", "1"),
            ("threads", "1"),
            ("dies", "1"),
        ):
            node.means(name, last)
    else:
        for count in counts:
            total = total * count if isinstance(count, int) and isinstance(total, int) else str(count)
    draft.vm.set("vcpus", total, node)
    draft.vm.leave(node, {**TOPOLOGY, "maxcpus": "vmrun cannot hotplug vCPUs"})


def _features(draft: Draft, cpu: Node) -> None:
    disabled = []
    for part in cpu.children:
        name = part.name.lstrip("+-")
        known = NAMES.get(name, name.replace("-", "_"))
        off = part.value == "off" or part.name.startswith("-")
        if part.taken or part.name == "model":
            continue
        if known in FEATURES:
            # The guest sees what KVM supports, so a feature that is asked for is there if it can be.
            part.taken = True
            disabled += [known] if off else []
    draft.cpu.set("disable", disabled or None, cpu)
    see = "the guest sees what KVM supports; cpu.model takes a model, which vmspec cpuid writes"
    draft.cpu.leave(cpu, {"model": see})


def _boot(draft: Draft, root: Node) -> None:
    draft.boot.file("firmware", root.get("bios"))
    draft.boot.file("kernel", root.get("kernel"))
    draft.boot.file("initrd", root.get("initrd"))
    if (append := root.get("append")) is not None:
        draft.boot.set("cmdline", str(append.value), append)


def _devices(draft: Draft, host: Host, root: Node, micro: bool) -> None:
    """Devices, in the order of their options."""
    terminal = root.get("nographic") is not None
    if terminal:
        root.means("display", "none")
    bare = root.get("nodefaults") is not None
    for name in ("no-user-config", "nodefconfig", "no-reboot", "no-fd-bootchk"):
        root.get(name)
    _quiet(root)
    absent = any(part.name == "isa-serial" and part.value == "off" for node in root.children for part in node.children)
    serials = [node for node in root.children if node.name == "serial"]
    if not serials and not bare and not absent:
        part = draft.device("serial")
        part.set("input", draft.stdin(part))
        part.comment("QEMU's first serial port" + (" (-nographic)" if terminal else ", which it shows in a window"))
    com = 0
    for node in list(root.children):
        match node.name:
            case "serial":
                com += 1
                node.taken = True
                if node.value == "none":
                    continue
                if (port := draft.serial(node, com)) is not None:
                    backends.dev(draft, port, host, node)
            case "debugcon":
                node.taken = True
                part = draft.device("debug-port", node)
                reads = draft.reads_stdin
                backends.dev(draft, part, host, node)
                part.values.pop("input", None)
                draft.reads_stdin = reads
            case "pflash":
                node.taken = True
                file = Node("file", node.value, label=node.label, text=node.text, place=node.place)
                backends.flash(draft, host, Node("drive", None, [file], label=node.label, place=node.place))
            case "drive" if (use := node.peek("if")) is not None and use.value == "pflash":
                backends.flash(draft, host, node)
            case "drive" if node.peek("if") is not None and node.means("if", "virtio"):
                backends.disk(draft, draft.device("virtio-blk", node), host, node)
            case "device":
                node.taken = True
                devices.read(draft, host, node, micro)
            case "nic":
                node.taken = True
                networks.nic(draft, node, micro)
            case "net":
                node.taken = True
                _net(draft, root, node, micro)
            case "virtfs":
                devices.virtfs(draft, node, None)


def _net(draft: Draft, root: Node, node: Node, micro: bool) -> None:
    """The old -net: a card and a network, which a hub connects. The card takes the network's parts."""
    if node.string("type") != "nic":
        return
    network = next((other for other in root.children if other.name == "net" and not _is_card(other)), None)
    if network is not None:
        network.taken = True
        node.children += network.children
        network.children = []
    networks.nic(draft, node, micro)


def _is_card(node: Node) -> bool:
    kind = node.peek("type")
    return kind is None or kind.value in ("nic", "none")


def _quiet(root: Node) -> None:
    """Options that only turn off what vmrun does not have."""
    for name in ("display", "vga", "monitor", "parallel", "nic", "net", "audio"):
        for node in root.children:
            if node.name == name and node.value == "none":
                node.taken = True
