"""QEMU's options as nodes: which take a value, which have parts, and which a spec cannot have (qemu-options.hx)."""

import json
from typing import Any

from vmspec.exchange.commandline import commas
from vmspec.exchange.shell import Command, Word
from vmspec.exchange.tree import Node
from vmspec.schema.problems import Problem, SpecError

PROGRAM = r"qemu-system-(x86_64|i386)|qemu-kvm|kvm|qemu"
# Options without a value.
FLAGS = frozenset(
    [
        "h",
        "help",
        "version",
        "nographic",
        "no-acpi",
        "no-hpet",
        "enable-kvm",
        "no-reboot",
        "no-shutdown",
        "daemonize",
        "nodefaults",
        "no-user-config",
        "nodefconfig",
        "snapshot",
        "usb",
        "S",
        "s",
        "full-screen",
        "portrait",
        "win2k-hack",
        "no-fd-bootchk",
        "mem-prealloc",
        "only-migratable",
        "enable-sync-profile",
        "singlestep",
        "preconfig",
        "async-teardown",
        "sdl",
        "curses",
        "xen-attach",
        "xen-domid-restrict",
        "enable-fips",
        "audio-help",
        "qmp-help",
    ]
)
# Options with parts, and the name of a first part without one.
PARTS: dict[str, str | None] = {
    "machine": "type", "M": "type", "cpu": "model", "accel": "accel", "smp": "cpus", "m": "size", "name": "guest",
    "device": "driver", "netdev": "type", "nic": "type", "net": "type", "chardev": "backend", "object": "qom-type",
    "drive": None, "blockdev": "driver", "rtc": None, "overcommit": None, "fsdev": "fsdriver", "virtfs": "fsdriver",
    "mon": "chardev", "action": None,
}  # fmt: skip

# Options that QEMU merges if they are given more than once (merge_lists of its lists of options), by what they are.
MERGED = {"machine": "machine", "M": "machine", "smp": "smp", "m": "m", "name": "name", "rtc": "rtc"}

FW_CFG = "boot.files has files that firmware finds in fw_cfg"
NO_DISPLAY = "vmrun has no display"
NO_MONITOR = "vmrun has no QEMU monitor"
NO_IDE = "vmrun has no IDE, SCSI or floppy disks: use if=virtio or virtio-blk"
SERVICE = "leave this to what starts vmrun"
NO_USB = "vmrun has no USB"
NO_SOUND = "vmrun has no sound"
NO_SNAPSHOT = "vmrun cannot load QEMU's saved state"
NO_DEBUG = "vmrun records exits instead: [trace]"
# Why an option has no counterpart.
NONE = {
    **dict.fromkeys(("option-rom", "fw_cfg"), FW_CFG),
    **dict.fromkeys(("vga", "display", "spice", "vnc", "k", "full-screen", "sdl", "curses", "g", "rotate"), NO_DISPLAY),
    **dict.fromkeys(("monitor", "mon", "qmp", "qmp-pretty", "echr"), NO_MONITOR),
    **dict.fromkeys(("hda", "hdb", "hdc", "hdd", "fda", "fdb", "cdrom", "sd", "mtdblock", "iscsi"), NO_IDE),
    **dict.fromkeys(("daemonize", "pidfile", "chroot", "runas", "run-with", "sandbox", "add-fd"), SERVICE),
    **dict.fromkeys(("usb", "usbdevice"), NO_USB),
    **dict.fromkeys(("audio", "audiodev", "soundhw"), NO_SOUND),
    **dict.fromkeys(("loadvm", "incoming", "only-migratable", "preconfig"), NO_SNAPSHOT),
    **dict.fromkeys(("d", "D", "dfilter", "trace", "plugin", "msg", "dump-vmstate"), NO_DEBUG),
    **dict.fromkeys(("gdb", "s", "S"), "vmrun has no server for gdb"),
    "no-shutdown": "a run of vmrun ends with the guest",
    "icount": "vmrun runs on KVM: the guest's time is the host's",
    "numa": "the guest has one NUMA node",
    "L": "write the whole path of the firmware in boot.firmware",
    "boot": "the firmware decides from what it boots",
    "acpitable": "vmrun makes the ACPI tables itself",
    "dtb": "a PC has no device tree",
    **dict.fromkeys(("uuid", "smbios"), "the guest has no SMBIOS tables"),
    "tpmdev": "vmrun has no TPM",
    "parallel": "vmrun has no parallel port",
    "watchdog": "vmrun has no watchdog: vm.timeout ends a run",
    "mem-path": 'the memory is anonymous or a memfd: memory.pages = "hugetlbfs" gives huge pages',
    "readconfig": "vmspec does not read the file: give its options on the command line",
    "global": "write the property at each device",
    "set": "write the property at the device",
    "no-hpet": "vmrun has no HPET in any case",
}


def tree(words: Command) -> Node:
    """The options of a command as parts of one node. Raises SpecError for an option without its value."""
    options: list[Node] = []
    rest = iter(words)
    for word in rest:
        if not word.text.startswith("-") or len(word.text) < 2:
            options.append(_option("hda", word.text, word, word))
            continue
        name = word.text[1:].removeprefix("-")
        if name in FLAGS:
            options.append(Node(name, True, label=word.text, place=word.place))
            continue
        value = next(rest, None)
        if value is None:
            raise SpecError((Problem(word.text, "needs a value").at(*word.place),))
        made = _option(name, word.text, value, word)
        before = next((o for o in options if name in MERGED and MERGED.get(o.name) == MERGED[name]), None)
        if before is None:
            options.append(made)
        else:
            later = {part.name for part in made.children}
            before.children = [part for part in before.children if part.name not in later] + made.children
    return Node("", None, options)


def _option(name: str, label: str, value: Word, word: Word) -> Node:
    text = f"{label} {value.text}" if value is not word else value.text
    made = Node(name, value.text, label=label, text=text, place=word.place)
    if name in PARTS:
        made.children = _parts(made, PARTS[name])
    return made


def _parts(option: Node, first: str | None) -> list[Node]:
    given = str(option.value)
    if given.startswith("{"):
        return [_part(option, key, value, f'"{key}"') for key, value in _json(option).items()]
    made = []
    for index, part in enumerate(commas(given) if given else []):
        key, equals, value = part.partition("=")
        if not equals:
            if index == 0 and first is not None:
                key, value = first, part
            else:
                value = "on"
        made.append(_part(option, key, value, part))
    return made


def _part(option: Node, key: str, value: str, text: str) -> Node:
    return Node(key, value, label=f"{option.label} {key}", text=f"{option.label} {text}", place=option.place)


def _json(option: Node) -> dict[str, str]:
    """An option's value in JSON, with the names that its parts have on the command line: ``file.filename``."""
    try:
        given = json.loads(str(option.value))
    except (ValueError, RecursionError) as error:
        raise SpecError((Problem(option.label, f"is not JSON: {error}").at(*option.place),)) from None
    flat: dict[str, str] = {}
    open_: list[tuple[str, Any]] = [("", given)]
    while open_:
        key, value = open_.pop()
        match value:
            case dict():
                open_ += [(f"{key}.{name}" if key else str(name), inner) for name, inner in value.items()]
            case list():
                open_ += [(f"{key}.{index}", inner) for index, inner in enumerate(value)]
            case bool():
                flat[key] = "on" if value else "off"
            case _:
                flat[key] = str(value)
    return flat
