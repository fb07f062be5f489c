"""``vmspec new``: a complete spec to start from."""

import argparse
from pathlib import Path

from vmspec.document import Document
from vmspec.show import new

OVMF = "/usr/share/OVMF/OVMF_CODE_4M.fd"  # of Debian's package ovmf
SEABIOS = "/usr/share/seabios/bios-microvm.bin"  # of Debian's package seabios


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "kind",
        choices=("linux", "disk", "flat", "firmware"),
        help="Linux; Linux whose root is a disk; a flat guest; a disk or a kernel that firmware boots",
    )
    parser.add_argument("--name", metavar="NAME", help="the name of the machine and of its trace; default: KIND")
    parser.add_argument(
        "--kernel", metavar="FILE", help="the kernel, or a flat guest's code; default for Linux: vmlinuz"
    )
    parser.add_argument("--initrd", metavar="FILE", help="the initrd")
    parser.add_argument("--firmware", metavar="FILE", help=f"the firmware; default for its kind: {SEABIOS}")
    parser.add_argument("--variables", metavar="FILE", help="UEFI firmware: the template of its variables")
    parser.add_argument("--disk", metavar="FILE", action="append", default=[], help="a disk image; may be repeated")
    parser.set_defaults(parser=parser)


def run(options: argparse.Namespace) -> int:
    """Print it."""
    name, kernel = options.name or options.kind, options.kernel
    if "/" in name or not name.isprintable():
        options.parser.error("--name: must have no / and no control characters, because the trace is named after it")
    match options.kind:
        case "flat" if options.initrd or options.disk or options.firmware or options.variables:
            options.parser.error("a flat guest has no --initrd, --disk, --firmware or --variables")
        case "flat":
            text = new.flat(name, kernel)
        case "firmware" if options.variables and (kernel or options.initrd):
            options.parser.error(
                "--variables is for UEFI firmware, which boots a disk: leave out --kernel and --initrd"
            )
        case "firmware" if options.variables and options.disk:
            text = new.uefi(name, options.firmware or OVMF, options.variables, options.disk)
        case "firmware" if options.initrd and not kernel:
            options.parser.error("--initrd is for --kernel FILE; from a disk firmware takes both")
        case "firmware" if not options.disk and not kernel:
            options.parser.error("give what the firmware boots: --disk FILE or --kernel FILE")
        case "firmware":
            text = new.firmware(name, options.firmware or SEABIOS, kernel, options.initrd, options.disk)
        case _ if options.firmware or options.variables:
            options.parser.error("--firmware and --variables are for the kind firmware")
        case "disk" if not options.disk:
            options.parser.error("give the disk with the root file system: --disk FILE")
        case kind:
            kernel = "vmlinuz" if kernel is None else kernel
            text = new.linux(name, kernel, options.initrd, options.disk, root=kind == "disk")
    Document(text, Path.cwd()).spec()
    print(text, end="")
    return 0
