"""A libvirt domain in XML (libvirt, docs/formatdomain.rst)."""

from typing import Any
from xml.etree import ElementTree as XML

from vmspec.exchange.export.source import Source, text_path
from vmspec.exchange.tree import Node

TOOL = "libvirt"
# A disk's number as letters: vda to vdz.
LETTERS = "abcdefghijklmnopqrstuvwxyz"
CACHES = {(False, False): "writeback", (True, False): "none", (False, True): "writethrough", (True, True): "directsync"}


def write(source: Source) -> str:
    """The text of the domain."""
    return _Writer(source).text()


def _add(above: XML.Element, name: str, text: str | None = None, /, **attributes: Any) -> XML.Element:
    made = XML.SubElement(above, name, {key.rstrip("_"): str(value) for key, value in attributes.items()})
    made.text = text
    return made


class _Writer:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.domain = XML.Element("domain", {"type": "kvm"})
        self.disks = 0
        self.micro = source.spec.vm.transport == "mmio"

    def text(self) -> str:
        self._machine()
        self.devices = XML.Element("devices")
        for node in self.source.devices:
            self._device(node)
        if not any(node.name == "virtio-balloon" for node in self.source.devices):
            _add(self.devices, "memballoon", model="none")
        self.domain.append(self.devices)
        XML.indent(self.domain)
        return XML.tostring(self.domain, encoding="unicode") + "\n"

    def _machine(self) -> None:
        source, vm, domain = self.source, self.source.vm, self.domain
        for key in ("transport", "memory", "vcpus"):
            vm.get(key)
        name = vm.get("name")
        _add(domain, "name", "" if name is None else str(name.value).replace("/", "-"))
        if name is not None and "/" in str(name.value):
            source.note(name, "a domain's name has no /")
        _add(domain, "memory", str(source.spec.vm.memory >> 10), unit="KiB")
        self._memory()
        _add(domain, "vcpu", str(source.spec.vm.vcpus))
        os = _add(domain, "os")
        _add(os, "type", "hvm", arch="x86_64", machine="microvm" if self.micro else "pc")
        for key in ("kernel", "initrd"):
            if (file := source.boot.get(key)) is not None:
                _add(os, key, text_path(file))
        if (line := source.boot.get("cmdline")) is not None:
            _add(os, "cmdline", str(line.value))
        features = _add(domain, "features")
        if any(node.name == "acpi" for node in source.devices):
            _add(features, "acpi")
        cpu = _add(domain, "cpu", mode="host-passthrough")
        disabled: Any = source.cpu.get("disable")
        for feature in disabled.value if disabled is not None else ():
            _add(cpu, "feature", policy="disable", name=feature.replace("_", "-"))
        _add(domain, "clock", offset="utc")
        for name_ in ("on_poweroff", "on_reboot", "on_crash"):
            _add(domain, name_, "destroy")
        if not self.micro:
            for kind in ("rtc", "i8042"):
                if not any(node.name == kind for node in source.devices):
                    source.adds(f"libvirt's machine pc has {kind} in any case")

    def _memory(self) -> None:
        memory = self.source.memory
        backing = memory.get("backing")
        shared = (backing is not None and backing.value == "memfd") or any(
            n.name == "virtio-fs" for n in self.source.devices
        )
        pages = memory.peek("pages")
        huge = pages is not None and memory.means("pages", "hugetlbfs")
        locked, prefault = memory.get("locked"), memory.get("prefault")
        if not (shared or huge or locked or prefault):
            return
        made = _add(self.domain, "memoryBacking")
        if huge:
            _add(_add(made, "hugepages"), "page", size=2, unit="MiB")
        if locked:
            _add(made, "locked")
        if shared:
            _add(made, "source", type="memfd")
            _add(made, "access", mode="shared")
        if prefault:
            _add(made, "allocation", mode="immediate")

    def _address(self, made: XML.Element, node: Node) -> None:
        """Only a device with another transport than the machine's needs an address."""
        transport = self.source.transport(node)
        if transport == "mmio" and not self.micro:
            self.source.note(node, "libvirt has all virtio devices of the machine pc on PCI")
        elif transport == "mmio":
            _add(made, "address", type="virtio-mmio")

    def _device(self, node: Node) -> None:
        node.taken = True
        devices = self.devices
        match node.name:
            case "i8042" | "rtc" | "acpi" | "pci-host" | "lpc" | "post-port":
                if node.name == "i8042" and self.micro:
                    self.source.cannot(node, "libvirt's microvm has none")
            case "serial":
                com = int(node.string("com", default="1"))
                made = self._console(node, "serial")
                _add(made, "target", type="isa-serial", port=com - 1)
            case "virtio-console":
                ports: Any = node.get("ports")
                made = self._console(node, "console")
                _add(made, "target", type="virtio", port=0)
                self._address(made, node)
                for port in ports.value if ports is not None else ():
                    self._port(node, port)
            case "virtio-rng":
                made = _add(devices, "rng", model="virtio")
                _add(made, "backend", "/dev/urandom", model="random")
                self._address(made, node)
            case "virtio-balloon":
                if (size := node.get("size")) is not None:
                    self.source.cannot(size, "set it while the guest runs: virsh setmem")
                self._address(_add(devices, "memballoon", model="virtio", freePageReporting="on"), node)
            case "virtio-vsock":
                if (socket := node.get("path")) is not None:
                    self.source.cannot(socket, "programs of the host use AF_VSOCK with libvirt")
                made = _add(devices, "vsock", model="virtio")
                _add(made, "cid", auto="no", address=node.string("cid", default="3"))
                self._address(made, node)
            case "virtio-blk":
                self._disk(node)
            case "virtio-net" if node.peek("stream") is None and node.peek("listen") is None:
                self._network(node)
            case "virtio-fs":
                made = _add(devices, "filesystem", type="mount", accessmode="passthrough")
                _add(made, "driver", type="virtiofs")
                folder = node.get("path")
                _add(made, "source", dir="" if folder is None else text_path(folder))
                _add(made, "target", dir=node.string("tag"))
                self._address(made, node)
            case "vmgenid" if self.micro:
                self.source.cannot(node, "QEMU's microvm has no generation ID")
            case "vmgenid":
                _add(self.domain, "genid")
            case "pvpanic":
                made = _add(devices, "panic", model="isa")
                _add(made, "address", type="isa", iobase=f"{int(node.string('port', default='0x505'), 0):#x}")
            case _:
                self.source.cannot(node, "libvirt has no such device")

    def _console(self, node: Node, element: str) -> XML.Element:
        """A console with the ends of a device."""
        source = node.string("input", default="stdin")
        found, output = node.peek("input"), node.get("output")
        sink = "stdout" if output is None else str(output.value)
        kind = {("stdin", "stdout"): "pty", ("none", "none"): "null"}.get((source, sink), "file")
        made = _add(self.devices, element, type=kind)
        if kind == "file":
            if source != "none":
                self.source.cannot(found or node, "libvirt reads no other input with this output")
            where = {"none": "/dev/null", "stdout": "/dev/stdout"}.get(sink)
            _add(made, "source", path=where or (text_path(output) if output is not None else ""))
        return made

    def _port(self, node: Node, port: dict[str, str]) -> None:
        ends = [Node(key, port.get(key, "none"), label=f"{node.label}.ports") for key in ("input", "output")]
        made = self._console(Node("port", None, ends, label=f"{node.label}.ports"), "channel")
        _add(made, "target", type="virtio", name=port["name"])

    def _disk(self, node: Node) -> None:
        file = node.get("path")
        made = _add(self.devices, "disk", type="file", device="disk")
        direct, through = node.get("direct") is not None, node.string("cache") == "writethrough"
        driver = {"name": "qemu", "type_": node.string("format", default="raw"), "cache": CACHES[direct, through]}
        if (queues := node.get("queues")) is not None:
            driver["queues"] = str(queues.value)
        _add(made, "driver", **driver)
        _add(made, "source", file="" if file is None else text_path(file))
        first, second = divmod(self.disks, len(LETTERS))
        _add(made, "target", dev=f"vd{LETTERS[first - 1] if first else ''}{LETTERS[second]}", bus="virtio")
        self.disks += 1
        if (block := node.get("block-size")) is not None:
            _add(made, "blockio", logical_block_size=block.value)
        match node.string("mode", default="rw"):
            case "ro":
                _add(made, "readonly")
            case "overlay":
                _add(made, "transient")
        if (serial := node.get("serial")) is not None:
            _add(made, "serial", str(serial.value))
        self._address(made, node)

    def _network(self, node: Node) -> None:
        tap, forward = node.get("tap"), node.get("forward")
        made = _add(self.devices, "interface", type="user" if tap is None else "ethernet")
        if (mac := node.get("mac")) is not None:
            _add(made, "mac", address=mac.value)
        if tap is not None:
            _add(made, "target", dev=tap.value, managed="no")
        if forward is not None:
            self.source.cannot(forward, "libvirt forwards ports with passt only: <backend type='passt'/>")
        _add(made, "model", type="virtio")
        if (queues := node.get("queues")) is not None:
            _add(made, "driver", queues=queues.value)
        if (mtu := node.get("mtu")) is not None:
            _add(made, "mtu", size=mtu.value)
        self._address(made, node)
