"""What the examples' specs name: a Debian kernel, and an initrd with drivers, put beside them."""

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.guests import debian, initrd

NOTHING: Mapping[str, initrd.Entry] = {}


def put(
    where: Path,
    init: Path,
    drivers: Sequence[str],
    more: Mapping[str, initrd.Entry] = NOTHING,
    name: str = "6.1-cloud",
) -> None:
    """Put the kernel ``name`` into the folder ``where`` as vmlinuz, and its initrd as initrd.img."""
    kernel = debian.kernel(name)
    link = where / "vmlinuz"
    link.unlink(missing_ok=True)
    link.symlink_to(kernel.bzimage)
    write_initrd(kernel, where / "initrd.img", init, drivers, more)


def write_initrd(
    kernel: debian.Kernel,
    out: Path,
    init: Path,
    drivers: Sequence[str],
    more: Mapping[str, initrd.Entry] = NOTHING,
) -> None:
    """Write a busybox initrd that has ``more`` files, and the drivers and what they need as modules/NAME.ko, with their
    order in modules/list. ``init`` loads them."""
    modules = debian.modules(kernel, drivers)
    entries = {**initrd.busybox(init.read_bytes()), **more}
    entries["modules/list"] = initrd.regular(" ".join(modules).encode())
    for module, image in modules.items():
        entries[f"modules/{module}.ko"] = initrd.regular(debian.unsigned(image))
    out.write_bytes(gzip.compress(initrd.archive(entries), mtime=0))
