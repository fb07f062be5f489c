"""An ``lkvm run`` command line."""

import shlex

from vmspec.exchange.export.source import Source, path
from vmspec.exchange.tree import Node

TOOL = "lkvm"
FIXED = "lkvm's machine has i8042, rtc and four serial ports in any case"


def write(source: Source) -> str:
    """A command for a shell, an option a line."""
    words = [["lkvm", "run"], ["--name", source.vm.string("name")], ["-c", str(source.spec.vm.vcpus)]]
    source.vm.get("vcpus")
    memory = source.vm.get("memory")
    amount = source.spec.vm.memory
    if amount % (1 << 20) and memory is not None:
        source.cannot(memory, "lkvm has whole MiB")
    words.append(["-m", str(amount >> 20)])
    words.append(["--nodefaults"])
    if (pages := source.memory.peek("pages")) is not None and pages.value == "hugetlbfs":
        pages.taken = True
        words.append(["--hugetlbfs", "/dev/hugepages"])
    source.vm.get("transport")
    if source.spec.vm.transport == "mmio" and any(node.name.startswith("virtio-") for node in source.devices):
        source.adds("lkvm has virtio devices on PCI only: boot with the modules of virtio_pci")
    words.append(["-k", path(source.boot.get("kernel"))])
    if (initrd := source.boot.get("initrd")) is not None:
        words.append(["-i", path(initrd)])
    if (line := source.boot.get("cmdline")) is not None:
        words.append(["-p", str(line.value)])
    source.adds('lkvm adds to the command line: "noapic noacpi pci=conf1 reboot=k panic=1", console= and root=')
    source.adds(FIXED)
    for node in source.devices:
        words += _device(source, node)
    if not any(node.name == "virtio-net" for node in source.devices):
        words.append(["-n", "mode=none"])
    return " \\\n    ".join(" ".join(map(shlex.quote, option)) for option in words) + "\n"


def _device(source: Source, node: Node) -> list[list[str]]:
    node.taken = True
    node.get("transport")
    match node.name:
        case "i8042" | "rtc" | "pci-host" | "lpc" | "post-port":
            return []
        case "serial" if node.string("com", default="1") == "1" and _terminal(node):
            return [["--console", "serial"]]
        case "virtio-console" if _terminal(node):
            return [["--console", "virtio"]]
        case "virtio-rng" | "virtio-balloon":
            return [[f"--{node.name.removeprefix('virtio-')}"]]
        case "virtio-vsock":
            return [["--vsock", node.string("cid", default="3")]]
        case "virtio-fs":
            return [["--9p", f"{path(node.get('path'))},{node.string('tag')}"]]
        case "virtio-blk":
            return _disk(source, node)
        case "virtio-net":
            return _network(source, node)
    source.cannot(node, "lkvm has no such device, or not with these ends")
    return []


def _terminal(node: Node) -> bool:
    return node.peek("input") is None and node.peek("output") is None


def _disk(source: Source, node: Node) -> list[list[str]]:
    name = path(node.get("path"))
    if "," in name:
        source.cannot(node, "lkvm has no commas in names of images")
        return []
    node.means("format", "qcow2")
    flags = ",ro" if node.means("mode", "ro") else ""
    flags += ",direct" if node.get("direct") is not None else ""
    return [["-d", name + flags]]


def _network(source: Source, node: Node) -> list[list[str]]:
    if node.peek("stream") is not None or node.peek("listen") is not None:
        source.cannot(node, "lkvm has taps and user mode only")
        return []
    tap, mac, queues = node.get("tap"), node.get("mac"), node.get("queues")
    parts = ["mode=user"] if tap is None else ["mode=tap", f"tapif={tap.value}"]
    parts += [f"guest_mac={mac.value}"] if mac is not None else []
    parts += [f"mq={queues.value}"] if queues is not None else []
    return [["-n", ",".join(parts)]]
