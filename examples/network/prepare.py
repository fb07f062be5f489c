"""Put a Debian kernel and a busybox initrd with its network drivers beside the specs, as vmlinuz and initrd.img."""

import gzip
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from tests.guests import debian, initrd  # noqa: E402 - found through the path above

DRIVERS = ("virtio_mmio", "virtio_net", "af_packet")


def prepare(where: Path = HERE) -> None:
    """Fetch the kernel if it is missing, and write the initrd."""
    kernel = debian.kernel("6.1-cloud")
    link = where / "vmlinuz"
    link.unlink(missing_ok=True)
    link.symlink_to(kernel.bzimage)
    modules = debian.modules(kernel, DRIVERS)
    entries = initrd.busybox((HERE / "init").read_bytes())
    entries["udhcpc-script"] = initrd.executable((HERE / "udhcpc-script").read_bytes())
    entries["etc"] = initrd.directory()
    entries["modules/list"] = initrd.regular(" ".join(modules).encode())
    for name, image in modules.items():
        entries[f"modules/{name}.ko"] = initrd.regular(debian.unsigned(image))
    (where / "initrd.img").write_bytes(gzip.compress(initrd.archive(entries), mtime=0))


if __name__ == "__main__":
    prepare()
