"""Put a Debian kernel and a busybox initrd with its network drivers beside the specs, as vmlinuz and initrd.img."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from tests.guests import beside, initrd  # noqa: E402 - found through the path above

DRIVERS = ("virtio_mmio", "virtio_net", "af_packet")


def prepare(where: Path = HERE) -> None:
    """Fetch the kernel if it is missing, and write the initrd."""
    script = initrd.executable((HERE / "udhcpc-script").read_bytes())
    beside.put(where, HERE / "init", DRIVERS, {"udhcpc-script": script, "etc": initrd.directory()})


if __name__ == "__main__":
    prepare()
