"""What QEMU's devices use on the host: character devices and disk images."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from vmspec.exchange.draft import Draft, FileName, Part, file_name
from vmspec.exchange.tree import Node
from vmspec.image.foreign import CONTAINERS

# Ends that vmrun does not have; the device is there, and what the guest writes goes nowhere.
NO_END = "a console of vmrun uses the terminal or files"
FORMATS = ("raw", *CONTAINERS)
FILES = ("file", "host_device", "host_cdrom")
SUFFIXES = {"qcow2": "qcow2", "vmdk": "vmdk", "vdi": "vdi", "vhd": "vpc", "vhdx": "vhdx"}
# cache= of a drive: whether it bypasses the page cache, and whether each write is durable (qemu-options.hx, -drive).
CACHES = {
    "writeback": (False, False), "none": (True, False), "writethrough": (False, True), "directsync": (True, True),
}  # fmt: skip
DISK_REASONS = {
    "bootindex": "the firmware decides from what it boots",
    "aio": "vmrun chooses how it reads and writes",
    "iothread": "each device has a thread of its own",
    "throttling": "vmrun has no rate limits",
}


class Host(NamedTuple):
    """The nodes that a device may refer to, by their identifiers."""

    chardevs: Mapping[str, Node]
    netdevs: Mapping[str, Node]
    drives: Mapping[str, Node]
    objects: Mapping[str, Node]
    folders: Mapping[str, Node]
    snapshot: bool  # all disks are temporary


def host(root: Node) -> Host:
    """The nodes of a command line; each stays untaken until a device uses it."""

    def named(option: str, key: str) -> dict[str, Node]:
        return {str(found.value): node for node in root.children if node.name == option and (found := node.peek(key))}

    return Host(
        chardevs=named("chardev", "id"),
        netdevs=named("netdev", "id"),
        drives={**named("drive", "id"), **named("blockdev", "node-name")},
        objects=named("object", "id"),
        folders=named("fsdev", "id"),
        snapshot=root.get("snapshot") is not None,
    )


def character(draft: Draft, part: Part, host: Host, name: str, user: Node) -> None:
    """Give a device the ends of the character device ``name``."""
    node = host.chardevs.get(name)
    if node is None:
        draft.wrong(user, "there is no -chardev with this id", name)
        return
    node.taken = True
    node.get("id")
    node.means("mux", "on", "off")
    node.means("signal", "on", "off")
    match node.string("backend"):
        case "stdio":
            _ends(part, draft.stdin(part), "stdout", node)
        case "null":
            _ends(part, "none", "none", node)
        case "file" if (path := node.get("path")) is not None:
            node.means("append", "off")
            _ends(part, "none", "stdout" if path.value == "/dev/stdout" else file_name(str(path.value)), node)
        case "pipe" if (path := node.get("path")) is not None:
            _ends(part, FileName(f"{path.value}.in"), FileName(f"{path.value}.out"), node)
        case _:
            _ends(part, "none", "none", node)
            part.remark(node, NO_END)
            return
    part.leave(node)


def dev(draft: Draft, part: Part, host: Host, node: Node) -> None:
    """Give a device the ends that an option such as -serial names in one word."""
    kind, _, rest = str(node.value).partition(":")
    match kind:
        case "stdio":
            _ends(part, draft.stdin(part), "stdout", node)
        case "mon" if rest == "stdio":
            _ends(part, draft.stdin(part), "stdout", node)
            part.comment("without QEMU's monitor: Ctrl-A x ends the run")
        case "vc":
            _ends(part, draft.stdin(part), "stdout", node)
            part.remark(Node("vc", label=node.label, text=node.text, place=node.place), "here on the terminal")
        case "null":
            _ends(part, "none", "none", node)
        case "file":
            _ends(part, "none", "stdout" if rest == "/dev/stdout" else file_name(rest), node)
        case "pipe":
            _ends(part, FileName(f"{rest}.in"), FileName(f"{rest}.out"), node)
        case "chardev":
            character(draft, part, host, rest, node)
        case _:
            _ends(part, "none", "none", node)
            part.remark(node, NO_END)


def _ends(part: Part, source: str, sink: str, node: Node) -> None:
    part.set("input", source, node)
    part.set("output", sink, node)


def disk(draft: Draft, part: Part, host: Host, drive: Node) -> None:
    """Give a disk the image of a -drive or a -blockdev."""
    path: Node | None = None
    for node, prefix in _layers(draft, host, drive):
        node.taken = True
        for name in ("id", "node-name", "if", "index", "media", "auto-read-only"):
            node.get(prefix + name)
        _layer(part, node, prefix)
        path = node.get(f"{prefix}filename", *(("file",) if node.name == "drive" else ())) or path
    if path is None:
        draft.wrong(drive, "names no image")
        return
    name = str(path.value).removeprefix("file:")
    if re.match(r"[a-z][a-z0-9+.-]+:", name):
        draft.wrong(path, "is not a file of this host", name)
    part.file("path", path, name)
    if drive.name == "drive" and "format" not in part.values and not any(c.name == "format" for c in drive.children):
        part.set("format", SUFFIXES.get(name.rpartition(".")[2].lower()), path)
    if host.snapshot and part.get("mode") is None:
        part.set("mode", "overlay", drive)
    if part.get("mode") == "overlay" and part.values.pop("direct", None) is not None:
        part.comment("an overlay cannot bypass the page cache")
    part.leave(drive, DISK_REASONS)


def flash(draft: Draft, host: Host, drive: Node) -> None:
    """Flash memory: the first one is the firmware, and the others are below it."""
    drive.taken = True
    unit = drive.get("unit")
    for name in ("if", "id", "index"):
        drive.get(name)
    path = drive.get("file", "filename")
    if path is None:
        draft.wrong(drive, "names no image")
        return
    drive.means("format", "raw")
    first = "firmware" not in draft.boot.values if unit is None else unit.value == "0"
    part = draft.boot if first else draft.device("flash", drive)
    if first:
        drive.means("readonly", "on")
        part.file("firmware", path)
    else:
        part.file("path", path)
        if host.snapshot or drive.means("snapshot", "on"):
            part.set("mode", "overlay", drive)
    for name in ("readonly", "snapshot"):
        drive.means(name, "off")
    part.leave(drive, DISK_REASONS)


def _layers(draft: Draft, host: Host, drive: Node) -> Iterator[tuple[Node, str]]:
    """A drive's node and the nodes below it, as -blockdev describes a disk: with ``file.`` before the names, or in a
    node of their own."""
    node, prefix, seen = drive, "", {id(drive)}
    while True:
        yield node, prefix
        below = node.get(f"{prefix}file") if node.name == "blockdev" else None
        if below is not None:
            found = host.drives.get(str(below.value))
            if found is None or id(found) in seen:
                draft.wrong(below, "there is no such -blockdev below this one", str(below.value))
                return
            node, prefix = found, ""
            seen.add(id(found))
        elif any(child.name.startswith(f"{prefix}file.") for child in node.children):
            prefix += "file."
        else:
            return


def _layer(part: Part, node: Node, prefix: str) -> None:
    """Take what one layer says of a disk."""
    kind = node.get(f"{prefix}format", f"{prefix}driver")
    if kind is not None and kind.value in FORMATS:
        part.set("format", None if kind.value == "raw" else kind.value, kind)
    elif kind is not None and kind.value not in FILES:
        part.remark(kind, f"vmrun has raw images, and {', '.join(FORMATS[1:])}")
    cache = node.peek(f"{prefix}cache")
    direct, through = CACHES.get(str(cache.value), (False, False)) if cache is not None else (False, False)
    if node.means(f"{prefix}cache", *CACHES):
        part.set("direct", direct or None, cache)
        part.set("cache", "writethrough" if through else None, cache)
    if node.means(f"{prefix}cache.direct", "on"):
        part.set("direct", True, node)
    if node.means(f"{prefix}read-only", "on") or node.means(f"{prefix}readonly", "on"):
        part.set("mode", "ro", node)
    if node.means(f"{prefix}snapshot", "on") and part.get("mode") is None:
        part.set("mode", "overlay", node)
    # What vmrun does in any case.
    node.means(f"{prefix}discard", "unmap", "on")
    node.means(f"{prefix}cache.writeback", "on")
    for name in ("read-only", "readonly", "snapshot", "cache.direct", "cache.no-flush"):
        node.means(prefix + name, "off")
