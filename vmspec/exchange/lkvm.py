"""The command line of ``lkvm run`` (kvmtool, builtin-run.c) as a draft."""

from pathlib import Path
from typing import NamedTuple

from vmspec.exchange import commandline
from vmspec.exchange.draft import NOTHING, Draft, Part
from vmspec.exchange.shell import Command, Word
from vmspec.exchange.sizes import size, whole
from vmspec.exchange.tree import Node
from vmspec.schema.problems import Problem, SpecError
from vmspec.schema.units import format_size

TOOL = "lkvm"
PROGRAM = r"lkvm|lkvm-static|kvmtool|vm"
FLAG = ""
DISKS = ".qcow2", ".qcow"


class Option(NamedTuple):
    """An option: its long and its short name, what its value is called (:data:`FLAG`: none), and its counterpart in a
    spec. Where that begins with "none", the rest says why."""

    long: str
    short: str | None
    value: str
    doc: str


OPTIONS = (
    Option("name", None, "NAME", "`vm.name`"),
    Option("cpus", "c", "N", "`vm.vcpus`. lkvm's default is the number of the host's processors"),
    Option("mem", "m", "SIZE", '`vm.memory = "512MiB"`'),
    Option("disk", "d", "IMAGE",
           '`kind = "virtio-blk"`, `path`; for `,ro`: `mode = "ro"`; for `,direct`: `direct = true`; '
           'for a qcow2 image: `format = "qcow2"`. For a folder: `kind = "virtio-fs"`, as for `--9p`'),
    Option("9p", None, "FOLDER,TAG", '`kind = "virtio-fs"`, `path`, `tag`; the guest mounts it with `-t virtiofs` '
           "([vhost-user.md](vhost-user.md))"),
    Option("balloon", None, FLAG, '`kind = "virtio-balloon"`'),
    Option("rng", None, FLAG, '`kind = "virtio-rng"`'),
    Option("console", None, "KIND", '`serial`: `kind = "serial"` and `console=ttyS0` in `boot.cmdline`; `virtio`: '
           '`kind = "virtio-console"` and `console=hvc0`; `hv`: none, it exists on other architectures only'),
    Option("tty", None, "ID", 'a serial device for each: `kind = "serial"`, `com`, `input` and `output` (paths)'),
    Option("vsock", None, "CID", '`kind = "virtio-vsock"`, `cid`, and `path`: a Unix socket on the host'),
    Option("hugetlbfs", None, "PATH", '`memory.pages = "hugetlbfs"`'),
    Option("virtio-transport", None, "KIND", "`vm.transport`; `pci-legacy` and `mmio-legacy`: as without `-legacy`"),
    Option("virtio-legacy", None, FLAG, "none: vmrun's devices are modern ones"),
    Option("kernel", "k", "IMAGE", "`boot.kernel`"),
    Option("initrd", "i", "FILE", "`boot.initrd`"),
    Option("params", "p", "TEXT",
           "`boot.cmdline`. lkvm adds `console=`, `root=`, `reboot=k` and others; vmrun adds nothing"),
    Option("network", "n", "PARAMETERS",
           '`mode=user`: `kind = "virtio-net"` ([network.md](network.md)); `mode=tap,tapif=NAME`: '
           '`tap = "NAME"`; `guest_mac=`: `mac`; `mq=`: `queues`; `trans=`: `transport`; `mode=none`: no such device. '
           "`host_ip=`, `guest_ip=`: none, user mode always has 10.0.2.2 and 10.0.2.15. `script=`, `downscript=`: "
           "none, call vmrun from a script. `vhost=`, `fd=`, `host_mac=`: none"),
    Option("nodefaults", None, FLAG, "vmrun uses only files that the spec names"),
    Option("firmware", "f", "FILE", "`boot.firmware`. A flat guest is `boot.kernel` with `boot.mode`"),
    Option("flash", "F", "FILE", "none: vmrun has flash memory only below firmware (`flash`)"),
    Option("dev", None, "FILE", "none: vmrun uses /dev/kvm"),
    Option("vnc", None, FLAG, "none: vmrun has no display"),
    Option("gtk", None, FLAG, "none: vmrun has no display"),
    Option("sdl", None, FLAG, "none: vmrun has no display"),
    Option("vidmode", None, "N", "none: vmrun has no display"),
    Option("sandbox", None, "SCRIPT", "none: build an initrd with the script as init"),
    Option("no-dhcp", None, FLAG, "none: the guest's init decides"),
    Option("vfio-pci", None, "DEVICE", "none: vmrun assigns no devices of the host"),
    Option("loglevel", None, "LEVEL", "none: `vmspec plan` and `vmtrace summary` show more"),
    Option("debug", None, FLAG, "none: `vmspec plan` and `vmtrace summary` show more"),
    Option("debug-single-step", None, FLAG, "none: vmrun does not single-step the guest"),
    Option("debug-ioport", None, FLAG, "none: the trace has every access that reaches vmrun (`vmtrace events`)"),
    Option("debug-mmio", None, FLAG, "none: the trace has every access that reaches vmrun (`vmtrace events`)"),
    Option("debug-iodelay", None, "MS", "none: vmrun delays no accesses"),
)  # fmt: skip
LONG = {option.long: option for option in OPTIONS}
SHORT = {option.short: option for option in OPTIONS if option.short is not None}
NETWORK = {
    **dict.fromkeys(("host_ip", "guest_ip"), "user mode always has 10.0.2.2 and 10.0.2.15"),
    **dict.fromkeys(("script", "downscript"), "call vmrun from a script"),
    "vhost": "vmrun moves the frames itself", "fd": "vmrun opens the tap by its name",
}  # fmt: skip
# What lkvm adds to the command line (x86/kvm.c, builtin-run.c); "noapic noacpi pci=conf1" are for what lkvm lacks.
ADDED = "reboot=k panic=1"


def of_text(text: str, file: Path | None) -> Draft:
    """The machine of the first command of a script that runs lkvm. Raises SpecError as of_words does."""
    return of_words(commandline.of_text(text, file, PROGRAM, TOOL))


def of_words(words: Command) -> Draft:
    """The machine of a command line. Raises SpecError for one that cannot be read at all; other problems are the
    draft's."""
    words = commandline.after(words, PROGRAM) or words
    draft = Draft(TOOL)
    for node in commandline.computed(words):
        draft.vm.remark(node, "only a shell can expand it: write its value")
    root = _tree(words[1:] if words and words[0].text == "run" else words)
    name = root.get("name")
    draft.vm.set("name", "guest" if name is None else str(name.value), name)
    vcpus = _machine(draft, root)
    draft.device("i8042")
    draft.device("rtc")
    draft.device("acpi").comment("lkvm has none; Linux finds vmrun's vCPUs and virtio-mmio devices by it")
    console = _console(draft, root)
    disks = _devices(draft, root)
    _boot(draft, root, console, disks)
    root.get("nodefaults")
    if vcpus is None:
        draft.vm.comment("lkvm's default of vcpus is the number of the host's processors")
    for node in root.left():
        draft.remark(
            node, LONG[node.name].doc.removeprefix("none: ").replace("`", "") if node.name in LONG else NOTHING
        )
    return draft


def _tree(words: Command) -> Node:
    nodes: list[Node] = []
    rest = iter(words)
    for word in rest:
        if not word.text.startswith("-") or word.text == "-":
            nodes.append(Node("kernel", word.text, label="kernel", text=word.text, place=word.place))
            continue
        option, given = _option(word)
        if option.value == FLAG:
            nodes.append(Node(option.long, True, label=word.text, place=word.place))
            continue
        following = Word(given, word.place) if given is not None else next(rest, None)
        if following is None:
            raise SpecError((Problem(word.text, "needs a value").at(*word.place),))
        label = word.text if given is None else f"--{option.long}"
        text = word.text if given is not None else f"{word.text} {following.text}"
        nodes.append(Node(option.long, following.text, label=label, text=text, place=word.place))
    return Node("", None, nodes)


def _option(word: Word) -> tuple[Option, str | None]:
    """The option of a word, and its value if the word has that too."""
    if word.text.startswith("--"):
        name, equals, value = word.text[2:].partition("=")
        option = LONG.get(name)
        given = value if equals else None
    else:
        option = SHORT.get(word.text[1])
        given = word.text[2:] or None
    if option is None or (option.value == FLAG and given is not None):
        raise SpecError((Problem(word.text, "is not an option of lkvm run").at(*word.place),))
    return option, given


def _machine(draft: Draft, root: Node) -> int | None:
    cpus = root.get("cpus")
    count = None if cpus is None else whole(str(cpus.value))
    if cpus is not None:
        draft.vm.set("vcpus", str(cpus.value) if count is None else count, cpus)
    memory = root.get("mem")
    amount = None if memory is None else size(str(memory.value), "m")
    if memory is not None and amount is None:
        draft.wrong(memory, "is not a size", str(memory.value), "a size such as 512 or 2G")
    draft.vm.set("memory", format_size(64 * ((count or 1) + 3) << 20 if amount is None else amount), memory)
    draft.vm.set("transport", "pci")
    if (transport := root.get("virtio-transport")) is not None:
        draft.vm.set("transport", str(transport.value).removesuffix("-legacy"), transport)
    if (pages := root.get("hugetlbfs")) is not None:
        draft.memory.set("pages", "hugetlbfs", pages)
    return count


def _console(draft: Draft, root: Node) -> str:
    """The console's device, and those of further terminals; its name for Linux."""
    node = root.get("console")
    kind = "serial" if node is None else str(node.value)
    if kind.startswith("virtio"):
        part = draft.device("virtio-console", node)
        part.set("input", draft.stdin(part))
        name = "hvc0"
    else:
        part = draft.device("serial", node)
        part.set("input", draft.stdin(part))
        name = "ttyS0"
        if not kind.startswith("serial"):
            draft.remark(node, "a console is serial or virtio; here it is serial")
    for tty in root.all("tty"):
        number = whole(str(tty.value))
        port = draft.serial(tty, number + 1 if number is not None else str(tty.value))
        if port is not None:
            port.set("input", "none")
            port.set("output", "none")
            port.comment("lkvm gives it a terminal of its own (pty): give paths as its input and output")
    return name


def _devices(draft: Draft, root: Node) -> bool:
    """Disks and the other devices; whether there is a disk or a folder."""
    disks = root.all("disk")
    for node in disks:
        path, *flags = str(node.value).split(",")
        if path.endswith("/"):
            _folder(draft, node, path.rstrip("/") or "/.", "/dev/root")
            continue
        part = draft.device("virtio-blk", node)
        part.file("path", node, path)
        part.set("format", "qcow2" if path.endswith(DISKS) else None)
        part.set("mode", "ro" if "ro" in flags else None)
        part.set("direct", True if "direct" in flags else None)
        if any(flag not in ("ro", "direct") for flag in flags):
            part.remark(node, "lkvm has ,ro and ,direct")
    folders = root.all("9p")
    for node in folders:
        path, _, tag = str(node.value).partition(",")
        _folder(draft, node, path, tag or "kvm_9p")
    for kind in ("rng", "balloon"):
        for node in root.all(kind)[:1]:
            draft.device(f"virtio-{kind}", node)
    if (vsock := root.get("vsock")) is not None:
        part = draft.device("virtio-vsock", vsock)
        number = whole(str(vsock.value))
        part.file("path", vsock, "guest.sock")
        part.set("cid", str(vsock.value) if number is None else number)
        part.comment("programs of the host use this Unix socket, not AF_VSOCK")
    _networks(draft, root)
    return bool(disks or folders)


def _folder(draft: Draft, node: Node, path: str, tag: str) -> None:
    part = draft.device("virtio-fs", node)
    part.file("path", node, path.rstrip("/") or "/.")
    part.set("tag", tag)
    part.remark(node, f"lkvm shares it by 9p; here the guest mounts it with: mount -t virtiofs {tag} FOLDER")


def _networks(draft: Draft, root: Node) -> None:
    nodes = root.all("network")
    for node in nodes:
        # lkvm separates names and values by either character.
        words = str(node.value).replace("=", ",").split(",")
        parts = [Node(name, value, label=f"{node.label} {name}", text=f"{node.label} {name}={value}", place=node.place)
                 for name, value in zip(words[::2], words[1::2], strict=False)]  # fmt: skip
        given = Node("network", None, parts, label=node.label, place=node.place)
        mode = given.string("mode", default="tap")
        if mode.startswith("none"):
            return
        part = draft.device("virtio-net", node)
        name = given.get("tapif")
        if not mode.startswith("user"):
            part.set("tap", "tap%d" if name is None else str(name.value), node)
        for key, name_of in (("mac", "guest_mac"), ("transport", "trans")):
            if (found := given.get(name_of)) is not None:
                part.set(key, str(found.value), node)
        if (queues := given.get("mq")) is not None:
            number = whole(str(queues.value))
            part.set("queues", str(queues.value) if number is None else number, node)
        for script in ("script", "downscript"):
            given.means(script, "none")
        given.means("vhost", "0")
        part.leave(given, NETWORK)
    if not nodes:
        draft.device("virtio-net").comment("lkvm's default network")


def _boot(draft: Draft, root: Node, console: str, disks: bool) -> None:
    boot: Part = draft.boot
    boot.file("kernel", root.get("kernel"))
    boot.file("firmware", root.get("firmware"))
    boot.file("initrd", root.get("initrd"))
    if "kernel" not in boot.values:
        return
    params = root.get("params")
    given = "" if params is None else str(params.value)
    added = [ADDED, f"console={console}"]
    if "root=" not in given:
        added.append("root=/dev/vda rw")
    boot.set("cmdline", " ".join((*added, given)).rstrip(), params)
    boot.comment(
        f"lkvm adds: {' '.join(added)}. Not taken over: noapic noacpi pci=conf1, which are for its own machine"
    )
    if not disks and "initrd" not in boot.values and root.peek("nodefaults") is None:
        boot.comment("without a disk or an initrd, lkvm uses the root file system in ~/.lkvm/default")
