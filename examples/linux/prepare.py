"""Put a Debian kernel and a small busybox initrd beside linux.toml, as vmlinuz and initrd.img."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from tests.guests import debian, initrd  # noqa: E402 - found through the path above


def prepare(name: str = "6.1-cloud") -> Path:
    """Fetch the kernel if it is missing, write the initrd, and return the spec's path."""
    kernel = debian.kernel(name)
    link = HERE / "vmlinuz"
    link.unlink(missing_ok=True)
    link.symlink_to(kernel.bzimage)
    initrd.write(HERE / "initrd.img")
    return HERE / "linux.toml"


if __name__ == "__main__":
    print(prepare(*sys.argv[1:2]))
