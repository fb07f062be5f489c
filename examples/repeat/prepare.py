"""Put a Debian kernel and a busybox initrd with the file init beside repeat.toml, as vmlinuz and initrd.img."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from tests.guests import debian, initrd  # noqa: E402 - found through the path above


def prepare(where: Path = HERE, name: str = "6.1-cloud") -> None:
    """Fetch the kernel if it is missing, and write the initrd."""
    link = where / "vmlinuz"
    link.unlink(missing_ok=True)
    link.symlink_to(debian.kernel(name).bzimage)
    initrd.write(where / "initrd.img", HERE / "init")


if __name__ == "__main__":
    prepare(HERE, *sys.argv[1:2])
