"""A cloud-hypervisor command line, or a VmConfig of its API in JSON, as a draft (vmm/src/vm_config.rs,
vmm/src/api/openapi/cloud-hypervisor.yaml). Both have the same parts, mostly by the same names."""

import re
from pathlib import Path

from vmspec.exchange import commandline, jsontree
from vmspec.exchange.draft import NOTHING, Draft, Part, file_name
from vmspec.exchange.shell import Command
from vmspec.exchange.sizes import size, whole
from vmspec.exchange.tree import Node
from vmspec.schema.problems import Problem, SpecError
from vmspec.schema.units import format_size

TOOL = "cloud-hypervisor"
PROGRAM = r"cloud-hypervisor(-static)?"
MEMORY = 512 << 20
# Options of the command line without a value, and those with parts.
FLAGS = ("pvpanic", "watchdog", "no-shutdown", "landlock", "pvmemcontrol", "dbus-system-bus", "v", "vv", "vvv", "iommu")
WHOLE = ("kernel", "firmware", "initramfs", "cmdline", "igvm", "host-data", "seccomp", "log-file", "restore")
FORMATS = {"raw": None, "qcow2": "qcow2", "fixedvhd": "vpc", "vhdx": "vhdx", "flatvmdk": "vmdk"}
PLACE = "vmrun chooses the device's place on its bus"
REASONS = {
    **dict.fromkeys(("pci_segment", "pci_device_id", "pci-segment", "pci_segments", "iommu"), PLACE),
    **dict.fromkeys(("rate_limiter_config", "rate_limit_group", "bw_size", "bw_refill_time", "ops_size",
                     "ops_refill_time", "bw_one_time_burst", "ops_one_time_burst"), "vmrun has no rate limits"),
    **dict.fromkeys(("max", "max_vcpus"), "vmrun cannot hotplug vCPUs"),
    **dict.fromkeys(("hotplug_size", "hotplugged_size", "hotplug_method"),
                    "vmrun cannot hotplug memory"),
    **dict.fromkeys(("topology", "affinity", "core_scheduling"), "the guest sees no core topology"),
    **dict.fromkeys(("ip", "mask", "host_mac"), "set up the tap: ip address add ADDRESS dev TAP"),
    "firmware": "if it is an ELF file, as hypervisor-fw is, give it as boot.kernel; a ROM image is boot.firmware",
    "igvm": "vmrun has no confidential guests",
    **dict.fromkeys(("device", "devices", "user-device", "user_devices", "vdpa"),
                    "vmrun assigns no devices of the host"),
    **dict.fromkeys(("watchdog", "tpm"), "vmrun has no such device"),
    **dict.fromkeys(("api-socket", "event-monitor", "log-file", "seccomp", "landlock", "landlock-rules", "v", "vv",
                     "vvv", "landlock_enable", "landlock_rules", "gdb"),
                     "this is about cloud-hypervisor's own process"),
    "pvpanic": 'its device is on PCI; vmrun\'s is at a port: kind = "pvpanic"',
    "queue_size": "vmrun chooses the longest size of queues; the driver chooses its own",
    "platform": "the guest has no SMBIOS tables", "numa": "the guest has one NUMA node",
    "no-shutdown": "a run of vmrun ends with the guest",
}  # fmt: skip


def of_text(text: str, file: Path | None) -> Draft:
    """The machine of a script with the command, or of a VmConfig in JSON. Raises SpecError for other texts."""
    if text.lstrip().startswith("{"):
        root = jsontree.parse(text, file)
        payload = root.get("payload")
        root.children += payload.children if payload is not None else []
        return _draft(root)
    return of_words(commandline.of_text(text, file, PROGRAM, TOOL))


def of_words(words: Command) -> Draft:
    """The machine of a command line. Raises SpecError for one that cannot be read at all."""
    words = commandline.after(words, PROGRAM) or words
    draft = _draft(_tree(words))
    for node in commandline.computed(words):
        draft.vm.remark(node, "only a shell can expand it: write its value")
    return draft


def _tree(words: Command) -> Node:
    """The options; one such as --disk takes several values."""
    nodes: list[Node] = []
    index = 0
    while index < len(words):
        word = words[index]
        name, equals, given = word.text.removeprefix("--").removeprefix("-").partition("=")
        if not word.text.startswith("-"):
            raise SpecError((Problem(word.text, "is not an option of cloud-hypervisor").at(*word.place),))
        index += 1
        if name in FLAGS:
            nodes.append(Node(name, True, label=word.text, place=word.place))
            continue
        values = [given] if equals else []
        while not equals and index < len(words) and not re.match("--|-v+$", words[index].text):
            values.append(words[index].text)
            index += 1
        if not values:
            raise SpecError((Problem(word.text, "needs a value").at(*word.place),))
        label = f"--{name}"
        for value in values:
            node = Node(name, value, label=label, text=f"{label} {value}", place=word.place)
            nodes.append(node)
            if name not in WHOLE:
                node.children = _parts(node, value)
    return Node("", None, nodes)


def _parts(option: Node, value: str) -> list[Node]:
    made = []
    for part in _split(value):
        key, _, given = part.partition("=")
        made.append(Node(key, given, label=f"{option.label} {key}", text=f"{option.label} {part}", place=option.place))
    return made


def _split(value: str) -> list[str]:
    """The parts of a value between commas, except commas in quotes and brackets."""
    parts, begin, depth, quoted = [], 0, 0, False
    for index, char in enumerate(value):
        quoted ^= char == '"'
        depth += (char == "[") - (char == "]" and depth > 0)
        if char == "," and not depth and not quoted:
            parts.append(value[begin:index])
            begin = index + 1
    return [part for part in (*parts, value[begin:]) if part]


def _draft(root: Node) -> Draft:
    draft = Draft(TOOL)
    draft.vm.set("name", "guest")
    draft.vm.set("transport", "pci")
    _machine(draft, root)
    draft.boot.file("kernel", root.get("kernel"))
    draft.boot.file("initrd", root.get("initramfs"))
    if (line := root.get("cmdline")) is not None:
        draft.boot.set("cmdline", line.value, line)
    for kind in ("i8042", "rtc", "acpi"):
        draft.device(kind)
    root.get("rtc")
    _ends(draft, root, "console", "virtio-console", "Tty")
    _ends(draft, root, "serial", "serial", "Null")
    _ends(draft, root, "debug-console", "debug-port", "Off")
    for node in root.all("disk", "disks"):
        _disk(draft, node)
    for node in root.all("net"):
        _network(draft, node)
    _others(draft, root)
    for node in root.left():
        draft.remark(node, REASONS.get(node.name, NOTHING))
    return draft


def _on(node: Node, name: str) -> Node | None:
    """Take a part that is on or off, as both forms write it; the part if it is on."""
    found = node.get(name)
    return found if found is not None and found.value in (True, "on", "true") else None


def _bytes(draft: Draft, node: Node) -> str | None:
    found = size(str(node.value), "b")
    if found is None:
        draft.wrong(node, "is not a size", str(node.value), "a size such as 512M or 2G")
    return None if found is None else format_size(found)


def _count(node: Node) -> object:
    found = whole(str(node.value))
    return node.value if found is None else found


def _machine(draft: Draft, root: Node) -> None:
    cpus = root.get("cpus") or Node("cpus")
    boot = cpus.get("boot", "boot_vcpus")
    if boot is None and cpus.value is not None and "=" not in str(cpus.value):
        boot, cpus.children = cpus, []
    draft.vm.set("vcpus", 1 if boot is None else _count(boot), boot)
    if boot is not None:
        cpus.means("max", boot.value)
        cpus.means("max_vcpus", boot.value)
    draft.vm.leave(cpus, REASONS)
    memory = root.get("memory") or Node("memory")
    amount = memory.get("size")
    draft.vm.set("memory", format_size(MEMORY) if amount is None else _bytes(draft, amount), amount)
    for key, value, name in (
        ("pages", "hugetlbfs", "hugepages"),
        ("prefault", True, "prefault"),
        ("backing", "memfd", "shared"),
    ):
        if (found := _on(memory, name)) is not None:
            draft.memory.set(key, value, found)
    if memory.means("thp", "off") or memory.means("thp", False):
        draft.memory.set("pages", "small", memory)
    _on(memory, "thp")
    memory.means("hugepage_size", "2M", 2 << 20)
    memory.means("mergeable", "off")
    memory.means("mergeable", False)
    draft.memory.leave(memory, REASONS)


def _ends(draft: Draft, root: Node, name: str, kind: str, default: str) -> None:
    """A console: in JSON a mode and a file, on the command line a word, or file= and a path."""
    node = root.get(name, name.replace("-", "_"))
    given = node or Node(name)
    mode = given.get("mode")
    words = [child for child in given.children if child.name in ("off", "null", "pty", "tty") and child.value == ""]
    for word in words:
        word.taken = True
    file = given.get("file")
    said = str(mode.value) if mode is not None else words[-1].name if words else "file" if file else default
    if node is not None and mode is None and not words and file is None:
        said = "other"
    if said.lower() == "off":
        return
    part = draft.device(kind, node)
    port = given.get("iobase")
    if kind == "debug-port" and port is not None:
        part.set(
            "port",
            int(str(port.value), 16) if re.fullmatch("(0x)?[0-9a-fA-F]{1,4}", str(port.value)) else port.value,
            port,
        )
    _end(draft, part, given, said.lower(), file)
    if kind == "debug-port":
        part.values.pop("input", None)
    part.leave(given, REASONS)


def _end(draft: Draft, part: Part, node: Node, said: str, file: Node | None) -> None:
    part.set("input", "none")
    part.set("output", "none")
    match said:
        case "tty":
            part.set("output", "stdout")
            if part.kind != "debug-port":
                part.set("input", draft.stdin(part))
        case "file" if file is not None:
            part.set("output", file_name(str(file.value)), file)
        case "null":
            pass
        case _:
            part.remark(node, "a console of vmrun uses the terminal or files")


def _disk(draft: Draft, node: Node) -> None:
    node.get("id")
    if _on(node, "vhost_user") is not None:
        part = draft.device("vhost-user", node)
        part.set("virtio-id", 2)
        part.file("socket", node.get("socket", "vhost_socket"))
        part.set("config-size", 60)
    else:
        part = draft.device("virtio-blk", node)
        path = node.get("path")
        part.file("path", path)
        form = node.get("image_type")
        if form is not None and str(form.value).lower() in FORMATS:
            part.set("format", FORMATS[str(form.value).lower()], form)
        elif form is not None:
            part.remark(form, f"vmrun has {', '.join(filter(None, FORMATS.values()))} and raw images")
        elif path is not None and str(path.value).endswith(".qcow2"):
            part.set("format", "qcow2", path)
        if _on(node, "readonly") is not None:
            part.set("mode", "ro")
        if _on(node, "direct") is not None:
            part.set("direct", True)
        if (serial := node.get("serial")) is not None:
            part.set("serial", serial.value, serial)
    if (queues := node.get("num_queues")) is not None:
        part.set("queues", _count(queues), queues)
    for name in ("iommu", "backing_files"):
        node.means(name, "off")
        node.means(name, False)
    _on(node, "sparse")
    part.leave(node, REASONS)


def _network(draft: Draft, node: Node) -> None:
    node.get("id")
    if _on(node, "vhost_user") is not None:
        draft.remark(node, 'a network that another process serves is kind = "vhost-user"')
        return
    part = draft.device("virtio-net", node)
    tap = node.get("tap")
    part.set("tap", "tap%d" if tap is None or not tap.value else tap.value, tap)
    for name in ("mac", "mtu"):
        if (found := node.get(name)) is not None:
            part.set(name, _count(found) if name == "mtu" else found.value, found)
    if (queues := node.get("num_queues")) is not None:
        number = _count(queues)
        part.set("queues", number // 2 if isinstance(number, int) and number > 1 else number, queues)
    for name in ("iommu", "offload_tso", "offload_ufo", "offload_csum"):
        _on(node, name)
    part.leave(node, REASONS)


def _others(draft: Draft, root: Node) -> None:
    rng = root.get("rng")
    part = draft.device("virtio-rng", rng)
    if rng is not None:
        rng.means("src", "/dev/urandom", "/dev/random", "/dev/hwrng")
        part.leave(rng, REASONS)
    else:
        part.comment("cloud-hypervisor always has one")
    if (balloon := root.get("balloon")) is not None:
        part = draft.device("virtio-balloon", balloon)
        amount = balloon.get("size")
        if amount is not None and str(amount.value) != "0":
            part.set("size", _bytes(draft, amount), amount)
        for name in ("deflate_on_oom",):
            balloon.means(name, "off")
            balloon.means(name, False)
        _on(balloon, "free_page_reporting")
        part.leave(balloon, REASONS)
    for node in root.all("pmem"):
        part = draft.device("virtio-pmem", node)
        part.file("path", node.get("file"))
        for name in ("id", "size"):
            node.get(name)
        if _on(node, "discard_writes") is None:
            part.comment("cloud-hypervisor writes to the file; here the guest's writes end with the run")
        part.leave(node, REASONS)
    if (vsock := root.get("vsock")) is not None:
        part = draft.device("virtio-vsock", vsock)
        vsock.get("id")
        part.file("path", vsock.get("socket"))
        if (cid := vsock.get("cid")) is not None:
            part.set("cid", _count(cid), cid)
        part.leave(vsock, REASONS)
    for node in root.all("fs"):
        tag = node.string("tag", default="share")
        draft.remark(node, f'write kind = "virtio-fs", path, and tag = "{tag}": vmrun starts virtiofsd itself')
    for node in root.all("generic_vhost_user", "generic-vhost-user"):
        draft.remark(node, 'write kind = "vhost-user" with virtio-id and socket')
