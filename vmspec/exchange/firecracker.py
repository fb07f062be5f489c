"""A Firecracker configuration (``firecracker --config-file``) as a draft; its fields are those of the API's
definitions (src/firecracker/swagger/firecracker.yaml)."""

from pathlib import Path

from vmspec.exchange import jsontree
from vmspec.exchange.draft import NOTHING, Draft, Part
from vmspec.exchange.tree import Node

TOOL = "Firecracker"
# boot_args without a value (Firecracker, src/vmm/src/vmm_config/boot_source.rs).
CMDLINE = "reboot=k panic=1 pci=off nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd"
RATES = "vmrun has no rate limits"
REASONS = {
    **dict.fromkeys(("rate_limiter", "rx_rate_limiter", "tx_rate_limiter"), RATES),
    "io_engine": "vmrun chooses how it reads and writes",
    "smt": "the guest sees no core topology",
    "cpu_template": "cpu.model takes a model, which vmspec cpuid writes",
    "cpu-config": "cpu.model takes a model, which vmspec cpuid writes",
    "track_dirty_pages": "vmrun has no snapshots",
    "huge_pages": "memory.pages has transparent, small and hugetlbfs",
    "logger": "vmrun prints on standard error",
    "metrics": "vmtrace summary has numbers of a run",
    "mmds-config": "vmrun has no metadata service",
    "memory-hotplug": "vmrun cannot hotplug memory",
    "deflate_on_oom": "the guest's balloon keeps its size",
    "stats_polling_interval_s": "a program asks for statistics: Run.balloon()",
    "free_page_hinting": "vmrun has reporting of free pages",
    "read_only": "the image of a virtio-pmem never changes",
    "partuuid": "write root=PARTUUID=… in boot.cmdline",
}


def of_text(text: str, file: Path | None) -> Draft:
    """The machine of a configuration file. Raises SpecError if it is not JSON."""
    root = jsontree.parse(text, file)
    draft = Draft(TOOL)
    draft.vm.set("name", "guest")
    _machine(draft, root)
    draft.device("i8042")
    draft.device("acpi")
    serial = draft.device("serial", root.peek("serial"))
    serial.set("input", draft.stdin(serial))
    if (given := root.get("serial")) is not None:
        serial.file("output", given.get("serial_out_path"))
        serial.leave(given, REASONS)
    arguments = _drives(draft, root)
    for node in root.all("network-interfaces"):
        _network(draft, node)
    _others(draft, root)
    _boot(draft, root, arguments)
    for node in root.left():
        draft.remark(node, REASONS.get(node.name, NOTHING))
    return draft


def _machine(draft: Draft, root: Node) -> None:
    node = root.get("machine-config") or Node("machine-config")
    vcpus, memory = node.get("vcpu_count"), node.get("mem_size_mib")
    draft.vm.set("vcpus", 1 if vcpus is None else vcpus.value, vcpus)
    amount = 128 if memory is None else memory.value
    draft.vm.set("memory", f"{amount}MiB" if type(amount) is int else amount, memory)
    for name in ("smt", "track_dirty_pages"):
        node.means(name, False)
    node.means("cpu_template", "None", None)
    node.means("huge_pages", "None", "Transparent")
    if (pages := node.peek("huge_pages")) is not None and node.means("huge_pages", "2M"):
        draft.memory.set("pages", "hugetlbfs", pages)
    draft.vm.leave(node, REASONS)


def _drives(draft: Draft, root: Node) -> list[str]:
    """The disks, the root device first, as Firecracker attaches them; what it adds to the command line."""
    arguments: list[str] = []
    drives = root.all("drives")
    first = [node for node in drives if (root_device := node.peek("is_root_device")) and root_device.value is True]
    for node in (*first, *(node for node in drives if node not in first)):
        node.get("drive_id")
        is_root = node.means("is_root_device", True)
        node.means("is_root_device", False)
        reads = node.means("is_read_only", True)
        node.means("is_read_only", False)
        node.means("cache_type", "Unsafe", "Writeback")
        socket = node.get("socket")
        part = draft.device("virtio-blk" if socket is None else "vhost-user", node)
        if socket is None:
            part.file("path", node.get("path_on_host"))
            part.set("mode", "ro" if reads else None)
        else:
            part.set("virtio-id", 2)
            part.file("socket", socket)
            part.set("config-size", 60)
        if is_root:
            partition = node.get("partuuid")
            device = "/dev/vda" if partition is None or not partition.value else f"PARTUUID={partition.value}"
            arguments += [f"root={device}", "ro" if reads else "rw"]
        part.leave(node, REASONS)
    for node in root.all("pmem"):
        node.get("id")
        part = draft.device("virtio-pmem", node)
        part.file("path", node.get("path_on_host"))
        if node.means("root_device", True):
            arguments += ["root=/dev/pmem0", "ro" if node.means("read_only", True) else "rw"]
        for name in ("root_device", "read_only"):
            node.means(name, False)
        node.means("read_only", True)
        part.leave(node, REASONS)
    return arguments


def _network(draft: Draft, node: Node) -> None:
    part = draft.device("virtio-net", node)
    node.get("iface_id")
    for key, name in (("tap", "host_dev_name"), ("mac", "guest_mac"), ("mtu", "mtu")):
        if (found := node.get(name)) is not None:
            part.set(key, found.value, found)
    part.leave(node, REASONS)


def _others(draft: Draft, root: Node) -> None:
    if (node := root.get("vsock")) is not None:
        part = draft.device("virtio-vsock", node)
        part.file("path", node.get("uds_path"))
        if (cid := node.get("guest_cid")) is not None:
            part.set("cid", cid.value, cid)
        node.get("vsock_id")
        part.leave(node, REASONS)
    if (node := root.get("entropy")) is not None:
        draft.device("virtio-rng", node).leave(node, REASONS)
    if (node := root.get("balloon")) is not None:
        part = draft.device("virtio-balloon", node)
        amount = node.get("amount_mib")
        if amount is not None and amount.value != 0:
            part.set("size", f"{amount.value}MiB" if type(amount.value) is int else amount.value, amount)
        node.means("deflate_on_oom", False)
        node.means("stats_polling_interval_s", 0)
        node.means("free_page_hinting", False)
        node.means("free_page_reporting", True, False)
        part.leave(node, REASONS)


def _boot(draft: Draft, root: Node, arguments: list[str]) -> None:
    boot: Part = draft.boot
    node = root.get("boot-source") or Node("boot-source")
    boot.file("kernel", node.get("kernel_image_path"))
    boot.file("initrd", node.get("initrd_path"))
    given = node.get("boot_args")
    line = CMDLINE if given is None or given.value is None else given.value
    boot.set("cmdline", " ".join((line, *arguments)) if isinstance(line, str) else line, given)
    if arguments:
        boot.comment(f"Firecracker adds: {' '.join(arguments)}")
    boot.leave(node, REASONS)
