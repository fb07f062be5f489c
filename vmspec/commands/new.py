"""``vmspec new``: a complete spec to start from."""

import argparse
from pathlib import Path

from vmspec.document import Document
from vmspec.show import new


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "kind", choices=("linux", "disk", "flat"), help="Linux; Linux whose root is a disk; a flat guest"
    )
    parser.add_argument("--name", metavar="NAME", help="the name of the machine and of its trace; default: KIND")
    parser.add_argument(
        "--kernel", metavar="FILE", help="the kernel, or a flat guest's code; default for Linux: vmlinuz"
    )
    parser.add_argument("--initrd", metavar="FILE", help="the initrd")
    parser.add_argument("--disk", metavar="FILE", action="append", default=[], help="a disk image; may be repeated")
    parser.set_defaults(parser=parser)


def run(options: argparse.Namespace) -> int:
    """Print it."""
    name, kernel = options.name or options.kind, options.kernel
    if "/" in name or not name.isprintable():
        options.parser.error("--name: must have no / and no control characters, because the trace is named after it")
    match options.kind:
        case "flat" if options.initrd or options.disk:
            options.parser.error("a flat guest has neither --initrd nor --disk")
        case "flat":
            text = new.flat(name, kernel)
        case "disk" if not options.disk:
            options.parser.error("give the disk with the root file system: --disk FILE")
        case kind:
            kernel = "vmlinuz" if kernel is None else kernel
            text = new.linux(name, kernel, options.initrd, options.disk, root=kind == "disk")
    Document(text, Path.cwd()).spec()
    print(text, end="")
    return 0
