"""Put a Debian kernel, a busybox initrd with its virtio-fs driver, and a folder to share beside the spec."""

import gzip
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from tests.guests import debian, initrd  # noqa: E402 - found through the path above

DRIVERS = ("virtio_mmio", "virtio_pci", "virtiofs")


def prepare(where: Path = HERE, drivers: Sequence[str] = DRIVERS) -> None:
    """Fetch the kernel if it is missing, and write the initrd and a file to share."""
    kernel = debian.kernel("6.1-cloud")
    link = where / "vmlinuz"
    link.unlink(missing_ok=True)
    link.symlink_to(kernel.bzimage)
    modules = debian.modules(kernel, drivers)
    entries = initrd.busybox((HERE / "init").read_bytes())
    entries["mnt"] = initrd.directory()
    entries["modules/list"] = initrd.regular(" ".join(modules).encode())
    for name, image in modules.items():
        entries[f"modules/{name}.ko"] = initrd.regular(debian.unsigned(image))
    (where / "initrd.img").write_bytes(gzip.compress(initrd.archive(entries), mtime=0))
    (where / "folder").mkdir(exist_ok=True)
    (where / "folder" / "from-host").write_text("this host's file\n")


if __name__ == "__main__":
    prepare()
