"""Put a Debian kernel, a busybox initrd with its virtio-fs driver, and a folder to share beside the spec."""

import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from tests.guests import beside, initrd  # noqa: E402 - found through the path above

DRIVERS = ("virtio_mmio", "virtio_pci", "virtiofs")


def prepare(where: Path = HERE, drivers: Sequence[str] = DRIVERS) -> None:
    """Fetch the kernel if it is missing, and write the initrd and a file to share."""
    beside.put(where, HERE / "init", drivers, {"mnt": initrd.directory()})
    (where / "folder").mkdir(exist_ok=True)
    (where / "folder" / "from-host").write_text("this host's file\n")


if __name__ == "__main__":
    prepare()
