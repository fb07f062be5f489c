"""A Firecracker configuration in JSON, for ``firecracker --no-api --config-file``."""

import json
import os
from typing import Any

from vmspec.exchange.export.source import Source, text_path
from vmspec.exchange.tree import Node

TOOL = "Firecracker"
VCPUS = 32
BLOCK = 2  # the virtio id of disks (virtio 1.2, 5)


def write(source: Source) -> str:
    """The text of the file."""
    source.vm.get("name")
    source.vm.get("memory")
    source.vm.get("transport")
    vcpus = source.vm.get("vcpus")
    if vcpus is not None and source.spec.vm.vcpus > VCPUS:
        source.cannot(vcpus, f"Firecracker has at most {VCPUS}")
    if source.spec.vm.memory % (1 << 20):
        source.note(Node("memory", label="vm.memory"), "Firecracker has whole MiB")
    machine: dict[str, Any] = {
        "vcpu_count": min(source.spec.vm.vcpus, VCPUS),
        "mem_size_mib": max(1, source.spec.vm.memory >> 20),
    }
    if (pages := source.memory.peek("pages")) is not None and pages.value == "hugetlbfs":
        pages.taken = True
        machine["huge_pages"] = "2M"
    made: dict[str, Any] = {"boot-source": _boot(source), "machine-config": machine, "drives": []}
    made["network-interfaces"] = []
    for node in source.devices:
        _device(source, node, made)
    return json.dumps(made, indent=2) + "\n"


def _boot(source: Source) -> dict[str, Any]:
    boot = source.boot
    kernel, initrd, line = boot.get("kernel"), boot.get("initrd"), boot.get("cmdline")
    made = {"kernel_image_path": "" if kernel is None else text_path(kernel)}
    if not str(made["kernel_image_path"]).endswith("vmlinux") and kernel is not None:
        source.note(kernel, "Firecracker starts an ELF vmlinux, not a bzImage")
    # Without boot_args Firecracker has a command line of its own.
    made["boot_args"] = "" if line is None else str(line.value)
    if initrd is not None:
        made["initrd_path"] = text_path(initrd)
    return made


def _device(source: Source, node: Node, made: dict[str, Any]) -> None:
    node.taken = True
    node.get("transport")
    match node.name:
        case "i8042" | "acpi" | "pci-host" | "lpc" | "post-port":
            pass
        case "serial" if node.string("com", default="1") == "1" and "serial" not in made:
            _serial(source, node, made)
        case "virtio-blk" if node.without("format", "raw"):
            _disk(source, node, made["drives"])
        case "virtio-net" if (tap := node.get("tap")) is not None:
            count = len(made["network-interfaces"])
            interface: dict[str, Any] = {"iface_id": f"eth{count}", "host_dev_name": str(tap.value)}
            for key, name in (("mac", "guest_mac"), ("mtu", "mtu")):
                if (found := node.get(key)) is not None:
                    interface[name] = found.value
            made["network-interfaces"].append(interface)
        case "virtio-vsock" if "vsock" not in made:
            socket = node.get("path")
            made["vsock"] = {
                "guest_cid": int(node.string("cid", default="3")),
                "uds_path": "" if socket is None else text_path(socket),
            }
        case "virtio-rng" if "entropy" not in made:
            made["entropy"] = {}
        case "virtio-balloon" if "balloon" not in made:
            node.get("size")
            size = source.spec.devices[source.devices.index(node)].size or 0  # type: ignore[union-attr]
            if size % (1 << 20):
                source.note(node, "Firecracker has whole MiB")
            made["balloon"] = {"amount_mib": size >> 20, "deflate_on_oom": False, "free_page_reporting": True}
        case "virtio-pmem":
            file = node.get("path")
            entry = {"id": f"pmem{len(made.get('pmem', []))}", "path_on_host": "" if file is None else text_path(file)}
            made.setdefault("pmem", []).append({**entry, "root_device": False, "read_only": True})
        case "vhost-user" if node.means("virtio-id", BLOCK) and (socket := node.get("socket")) is not None:
            node.get("config-size")
            drive = {"drive_id": f"disk{len(made['drives'])}", "is_root_device": False, "socket": text_path(socket)}
            made["drives"].append(drive)
        case "virtio-net":
            source.cannot(node, "Firecracker has taps only")
        case _:
            source.cannot(node, "Firecracker has no such device, or only one")


def _serial(source: Source, node: Node, made: dict[str, Any]) -> None:
    made["serial"] = {}
    output = node.peek("output")
    if output is not None and os.path.isabs(str(output.value)):  # noqa: PTH117 - a text, not a path of this host
        output.taken = True
        made["serial"] = {"serial_out_path": text_path(output)}


def _disk(source: Source, node: Node, drives: list[dict[str, Any]]) -> None:
    file = node.get("path")
    mode = node.peek("mode")
    reads = node.means("mode", "ro")
    if mode is not None and mode.value == "overlay":
        source.cannot(mode, "Firecracker writes to the image: give it a copy")
    drives.append({
        "drive_id": f"disk{len(drives)}", "path_on_host": "" if file is None else text_path(file),
        "is_root_device": False, "is_read_only": reads, "cache_type": "Writeback",
    })  # fmt: skip
