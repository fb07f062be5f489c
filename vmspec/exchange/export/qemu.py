"""A QEMU command line."""

import shlex
from pathlib import Path

from vmspec.exchange.export.source import Source, path
from vmspec.exchange.tree import Node

TOOL = "QEMU"
NAMES = {"pni": "sse3", "tsc_deadline_timer": "tsc-deadline", "sha_ni": "sha-ni"}
CACHES = {(False, False): "writeback", (True, False): "none", (False, True): "writethrough", (True, True): "directsync"}
BLOCK = 2  # the virtio id of disks (virtio 1.2, 5)


def write(source: Source) -> str:
    """A command for a shell, an option a line."""
    return _Writer(source).text()


class _Writer:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.words: list[list[str]] = [["qemu-system-x86_64"]]
        self.machine: list[str] = []
        self.count = 0
        virtio_devices = [node for node in source.devices if node.name.startswith(("virtio-", "vhost-"))]
        transports = {source.transport(node, take=False) for node in virtio_devices} or {source.spec.vm.transport}
        self.flash = int(any(node.name == "flash" for node in source.devices))  # units of flash memory, with firmware
        chipsets = [node.get("chipset") for node in source.devices if node.name == "pci-host"]
        self.q35 = bool(self.flash) or any(node.name == "lpc" for node in source.devices)
        self.q35 |= any(node is not None and node.value == "q35" for node in chipsets)
        self.micro = "mmio" in transports and not self.q35
        self.pcie = self.micro and ("pci" in transports or any(node.name == "pci-host" for node in source.devices))

    def text(self) -> str:
        self._machine()
        self._boot()
        coms: dict[int, str] = {}
        for node in self.source.devices:
            if node.name == "serial":
                self._serial(node, coms)
        for com in range(1, max(coms, default=0) + 1):
            self.add("-serial", coms.get(com, "none"))
        for node in self.source.devices:
            self._device(node)
        return " \\\n    ".join(" ".join(map(shlex.quote, words)) for words in self.words) + "\n"

    def add(self, *words: str) -> None:
        self.words.append(list(words))

    def _machine(self) -> None:
        source, vm = self.source, self.source.vm
        kinds = {
            node.name: node for node in source.devices
            if node.name in ("i8042", "rtc", "acpi", "pci-host", "lpc", "post-port")
        }  # fmt: skip
        for node in kinds.values():
            node.taken = True
        machine = ["microvm" if self.micro else "q35" if self.q35 else "pc", f"acpi={_on('acpi' in kinds)}"]
        if self.micro:
            machine.append(f"rtc={_on('rtc' in kinds)}")
            machine.append(f"isa-serial={_on(any(node.name == 'serial' for node in source.devices))}")
            machine += ["pcie=on"] if self.pcie else []
        else:
            machine.append(f"i8042={_on('i8042' in kinds)}")
            if "rtc" not in kinds:
                source.adds("QEMU's machine pc has a clock (rtc) in any case")
            if "pci-host" not in kinds and not any(
                node.name.startswith(("virtio", "vhost")) for node in source.devices
            ):
                source.adds("QEMU's machine pc has a PCI bus in any case")
        vm.get("transport")
        if (pit := vm.get("pit")) is not None:
            machine.append(f"pit={_on(bool(pit.value))}")
        if (irqchip := vm.peek("irqchip")) is not None and irqchip.value == "kernel":
            irqchip.taken = True
        memory = self._memory()
        self.add("-machine", ",".join((*machine, *memory)))
        self.add("-accel", "kvm")
        disabled = source.cpu.get("disable")
        features = [f"{NAMES.get(name, name)}=off" for name in (disabled.value if disabled else ())]
        if (vendor := source.cpu.get("vendor")) is not None:
            features.append(f"vendor={vendor.value}")
        self.add("-cpu", ",".join(("host", *features)))
        self.add("-smp", str(source.spec.vm.vcpus))
        vm.get("vcpus")
        self.add("-name", f"guest={_quoted(vm.string('name'))}")
        self.add("-nodefaults")
        self.add("-no-user-config")
        self.add("-display", "none")
        self.add("-no-reboot")
        if "i8042" in kinds and self.micro:
            self.add("-device", "i8042")
        if "rtc" in kinds and (time := kinds["rtc"].get("time")) is not None:
            self.add("-rtc", f"base={time.value:%Y-%m-%dT%H:%M:%S}")

    def _memory(self) -> list[str]:
        """The parts of -machine, after the options of the memory."""
        memory, amount = self.source.memory, self.source.spec.vm.memory
        self.source.vm.get("memory")
        maximum = (
            ",maxmem=" + _size(2 * amount + (1 << 40))
            if any(n.name == "virtio-pmem" for n in self.source.devices)
            else ""
        )
        self.add("-m", _size(amount) + maximum)
        backing, pages = memory.get("backing"), memory.peek("pages")
        huge = pages is not None and pages.value == "hugetlbfs"
        shared = (backing is not None and backing.value == "memfd") or any(
            node.name in ("virtio-fs", "vhost-user") for node in self.source.devices
        )
        if memory.get("locked") is not None:
            self.add("-overcommit", "mem-lock=on")
        prefault = memory.get("prefault") is not None
        if huge and pages is not None:
            pages.taken = True
        if not (shared or huge or prefault):
            return []
        parts = ["memory-backend-memfd" if shared or huge else "memory-backend-ram", "id=ram", f"size={_size(amount)}"]
        parts += ["share=on"] if shared else []
        parts += ["hugetlb=on", "hugetlbsize=2M"] if huge else []
        parts += ["prealloc=on"] if prefault else []
        self.add("-object", ",".join(parts))
        return ["memory-backend=ram"]

    def _boot(self) -> None:
        boot = self.source.boot
        if (firmware := boot.get("firmware")) is not None and self.flash:
            self._pflash(0, f"readonly=on,file={_quoted(path(firmware))}")
        elif firmware is not None:
            self.add("-bios", path(firmware))
        if (kernel := boot.get("kernel")) is not None:
            self.add("-kernel", path(kernel))
        if (initrd := boot.get("initrd")) is not None:
            self.add("-initrd", path(initrd))
        if (line := boot.get("cmdline")) is not None:
            self.add("-append", str(line.value))

    def _pflash(self, unit: int, what: str) -> None:
        self.add("-drive", f"if=pflash,format=raw,unit={unit},{what}")

    def _serial(self, node: Node, coms: dict[int, str]) -> None:
        node.taken = True
        com = int(node.string("com", default="1"))
        if self.micro and com != 1:
            self.source.cannot(node, "QEMU's microvm has one serial port")
            return
        coms[com] = self._end(node)

    def _end(self, node: Node, output_only: bool = False) -> str:
        """What -serial has for the ends of a console."""
        source = "none" if output_only else node.string("input", default="stdin")
        found = node.peek("input")
        output = node.get("output")
        sink = "stdout" if output is None else str(output.value)
        match source, sink:
            case "stdin", "stdout":
                return "stdio"
            case "none", "none":
                return "null"
        if source != "none":
            self.source.cannot(found or node, "QEMU reads no other input with this output")
        return "null" if sink == "none" else f"file:{'/dev/stdout' if sink == 'stdout' else path(output)}"

    def _chardev(self, end: str) -> str:
        kind, _, name = end.partition(":")
        identifier = self._identifier("char")
        self.add("-chardev", f"{kind},id={identifier}" + (f",path={_quoted(name)}" if name else ""))
        return identifier

    def _identifier(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def _driver(self, node: Node, name: str, *properties: str) -> None:
        bus = "device" if self.source.transport(node) == "mmio" else "pci"
        self.add("-device", ",".join((f"{name}-{bus}", *properties)))

    def _device(self, node: Node) -> None:
        if node.taken:
            return
        node.taken = True
        match node.name:
            case "debug-port":
                port = int(node.string("port", default="0xe9"), 0)
                self.add("-device", f"isa-debugcon,iobase={port:#x},chardev={self._chardev(self._end(node, True))}")
            case "debug-exit":
                port, ports = int(node.string("port", default="0xf4"), 0), node.string("size", default="4")
                self.add("-device", f"isa-debug-exit,iobase={port:#x},iosize={ports}")
            case "pvpanic":
                self.add("-device", f"pvpanic,ioport={int(node.string('port', default='0x505'), 0):#x}")
            case "vmgenid" if self.micro:
                self.source.cannot(node, "QEMU's microvm has no generation ID")
            case "vmgenid":
                self.add("-device", "vmgenid,guid=auto")
            case "virtio-rng":
                self._driver(node, "virtio-rng")
            case "virtio-balloon":
                if (size := node.get("size")) is not None:
                    self.source.cannot(size, "set it in QEMU's monitor: balloon SIZE")
                self._driver(node, "virtio-balloon", "free-page-reporting=on")
            case "virtio-console":
                self._console(node)
            case "flash":
                if (template := node.get("template")) is not None:
                    self.source.cannot(template, "copy the file first, if there is none")
                self.flash += 1
                overlay = ",snapshot=on" if node.string("mode", default="rw") == "overlay" else ""
                self._pflash(self.flash - 1, f"file={_quoted(path(node.get('path')))}{overlay}")
            case "virtio-blk":
                self._disk(node)
            case "virtio-net":
                self._network(node)
            case "virtio-vsock":
                cid = node.string("cid", default="3")
                if (socket := node.get("path")) is not None:
                    self.source.cannot(socket, "programs of the host use AF_VSOCK with QEMU")
                self._driver(node, "vhost-vsock", f"guest-cid={cid}")
            case "virtio-pmem" if self.source.transport(node) == "pci":
                self._pmem(node)
            case "virtio-fs":
                self._folder(node)
            case "vhost-user" if self._is_disk(node):
                self._vhost_user(node)
            case _:
                node.taken = False

    def _is_disk(self, node: Node) -> bool:
        number = node.peek("virtio-id")
        return number is not None and number.value == BLOCK and node.peek("socket") is not None

    def _console(self, node: Node) -> None:
        ports = node.get("ports")
        name = "virtio-serial"
        end = self._end(node)
        self._driver(node, name)
        self.add("-device", f"virtconsole,chardev={self._chardev(end)}")
        for port in ports.value if ports is not None else ():
            table = Node("port", None, [Node(key, port.get(key, "none")) for key in ("input", "output")],
                         label=ports.label if ports is not None else "")  # fmt: skip
            identifier = self._chardev(self._end(table))
            self.add("-device", f"virtserialport,chardev={identifier},name={port['name']}")

    def _disk(self, node: Node) -> None:
        identifier = self._identifier("disk")
        mode = node.string("mode", default="rw")
        direct = node.get("direct") is not None
        through = node.string("cache") == "writethrough"
        parts = [f"file={_quoted(path(node.get('path')))}", f"format={node.string('format', default='raw')}", "if=none"]
        parts += [f"id={identifier}", f"cache={CACHES[direct, through]}"]
        parts += {"ro": ["readonly=on"], "overlay": ["snapshot=on"]}.get(mode, [])
        self.add("-drive", ",".join(parts))
        properties = [f"drive={identifier}"]
        for key, name in (("serial", "serial"), ("queues", "num-queues"), ("block-size", "logical_block_size")):
            if (found := node.get(key)) is not None:
                properties.append(f"{name}={_quoted(str(found.value))}")
        self._driver(node, "virtio-blk", *properties)

    def _network(self, node: Node) -> None:
        identifier = self._identifier("net")
        tap, stream, listen = node.get("tap"), node.get("stream"), node.get("listen")
        queues = node.get("queues")
        properties = [f"netdev={identifier}"]
        if tap is not None:
            parts = ["tap", f"id={identifier}", f"ifname={_quoted(str(tap.value))}", "script=no", "downscript=no"]
            if queues is not None:
                parts.append(f"queues={queues.value}")
                properties += ["mq=on"] if self.micro else ["mq=on", f"vectors={2 * int(str(queues.value)) + 2}"]
        elif stream is not None or listen is not None:
            parts = ["stream", f"id={identifier}", f"server={_on(listen is not None)}", "addr.type=unix"]
            parts.append(f"addr.path={_quoted(path(stream or listen))}")
        else:
            parts = ["user", f"id={identifier}"]
            parts += ["restrict=on"] if node.get("restrict") is not None else []
            forward = node.get("forward")
            for one in forward.value if forward is not None else ():
                protocol, address, port, guest = one.split(":")
                parts.append(f"hostfwd={protocol}:{address}:{port}-:{guest}")
        self.add("-netdev", ",".join(parts))
        for key, name in (("mac", "mac"), ("mtu", "host_mtu")):
            if (found := node.get(key)) is not None:
                properties.append(f"{name}={found.value}")
        self._driver(node, "virtio-net", *properties)

    def _pmem(self, node: Node) -> None:
        identifier = self._identifier("pmem")
        file = node.get("path")
        where = path(file)
        try:
            size = Path(where).stat().st_size
        except OSError as error:
            self.source.cannot(node, f"QEMU needs the size of the image: {error.strerror}")
            return
        self.add("-object", f"memory-backend-file,id={identifier},mem-path={_quoted(where)},size={size},share=off")
        self._driver(node, "virtio-pmem", f"memdev={identifier}")

    def _folder(self, node: Node) -> None:
        identifier = self._identifier("char")
        tag, folder = node.string("tag"), path(node.get("path"))
        node.get("cache")
        start = f"virtiofsd --socket-path=./{identifier}.sock --shared-dir {shlex.quote(folder)}"
        self.source.note(node, f"start its back end first: {start}")
        self.add("-chardev", f"socket,id={identifier},path=./{identifier}.sock")
        self._driver(node, "vhost-user-fs", f"chardev={identifier}", f"tag={_quoted(tag)}")

    def _vhost_user(self, node: Node) -> None:
        identifier = self._identifier("char")
        for key in ("virtio-id", "config-size"):
            node.get(key)
        self.add("-chardev", f"socket,id={identifier},path={_quoted(path(node.get('socket')))}")
        queues = node.get("queues")
        count = [] if queues is None else [f"num-queues={queues.value}"]
        self._driver(node, "vhost-user-blk", f"chardev={identifier}", *count)


def _on(value: bool) -> str:
    return "on" if value else "off"


def _size(amount: int) -> str:
    return f"{amount >> 20}M" if amount % (1 << 20) == 0 else f"{amount >> 10}K"


def _quoted(text: str) -> str:
    """A value among parts that commas separate."""
    return text.replace(",", ",,")
