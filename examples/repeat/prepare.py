"""Put a Debian kernel beside the specs, as vmlinuz. repeat.toml gets an initrd (initrd.img: busybox and the file init);
disk.toml and exact.toml get one with drivers (disk-initrd.img), and a disk with busybox and root-init (root.img)."""

import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from tests.guests import beside, debian, initrd  # noqa: E402 - found through the path above

MODULES = ("virtio_mmio", "virtio_rng", "virtio_blk", "crc32c_generic", "ext4")
SIZE = "32M"
FILES = 40  # of random bytes on the disk


def prepare(where: Path = HERE, name: str = "6.1-cloud") -> None:
    """Fetch the kernel if it is missing, and write the initrds and the disk."""
    kernel = debian.kernel(name)
    link = where / "vmlinuz"
    link.unlink(missing_ok=True)
    link.symlink_to(kernel.bzimage)
    initrd.write(where / "initrd.img", HERE / "init")
    root = {"root": initrd.directory()}  # where the disk is mounted
    beside.write_initrd(kernel, where / "disk-initrd.img", HERE / "disk-init", MODULES, root)
    write_disk(where / "root.img")


def write_disk(out: Path) -> None:
    """An ext4 file system with busybox, root-init as init, and files."""
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".root-") as scratch:
        root, part = Path(scratch, "root"), Path(scratch, out.name)
        for folder in ("bin", "dev", "proc", "sys", "files"):
            (root / folder).mkdir(parents=True)
        for path, content in (
            (root / "bin" / "busybox", debian.busybox().read_bytes()),
            (root / "init", (HERE / "root-init").read_bytes()),
        ):
            path.write_bytes(content)
            path.chmod(0o755)
        for number in range(FILES):
            (root / "files" / str(number)).write_bytes(Random(number).randbytes(100_000))
        # Linux would initialise the rest of the inode tables later, at a time that its random numbers decide.
        shape = ("-t", "ext4", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0")
        subprocess.run(
            [debian.program("mke2fs", "e2fsprogs"), "-q", *shape, "-d", root, part, SIZE],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        part.replace(out)


if __name__ == "__main__":
    prepare(HERE, *sys.argv[1:2])
