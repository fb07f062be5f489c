"""Put a Debian kernel, an initrd with the disk's drivers, and a disk with a small Debian system beside disk.toml.

The disk is made by mmdebstrap from Debian's packages, with no root rights: as root it works in a directory, as another
user in a user namespace.
"""

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from tests.guests import beside, debian  # noqa: E402 - found through the path above

SUITE = "bookworm"
SIZE, BLOCK, INODES = 512 << 20, 4096, 32768  # of the disk's file system, in bytes
PACKAGES = ("sysvinit-core", "login", "util-linux")
MODULES = ("virtio_mmio", "virtio_pci", "virtio_rng", "virtio_blk", "crc32c_generic", "ext4")


def prepare(name: str = "6.1-cloud") -> Path:
    """Fetch and make what is missing, and return the spec's path."""
    beside.put(HERE, HERE / "init", MODULES, name=name)
    if not (HERE / "debian.img").exists():
        write_disk(HERE / "debian.img")
    return HERE / "disk.toml"


def write_initrd(kernel: debian.Kernel, out: Path) -> None:
    """An initrd for another kernel."""
    beside.write_initrd(kernel, out, HERE / "init", MODULES)


def write_disk(out: Path) -> None:
    """A small Debian system in a file system without a partition table."""
    debian.programs({"mmdebstrap": "mmdebstrap", "genext2fs": "genext2fs", "/sbin/tune2fs": "e2fsprogs"})
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".disk-") as scratch:
        tar, part = Path(scratch, "tar"), Path(scratch, out.name)
        hook = f"--customize-hook={HERE / 'customise'}"
        packages = f"--include={','.join(PACKAGES)}"
        run("mmdebstrap", "--variant=essential", packages, "--format=tar", "--quiet", hook, SUITE, tar)
        shape = ("--block-size", BLOCK, "--size-in-blocks", SIZE // BLOCK, "--number-of-inodes", INODES)
        run("genext2fs", *shape, "--tarball", tar, part)
        # From ext2 to ext4, with times after 2038.
        run("/sbin/tune2fs", "-I", "256", part)
        run("/sbin/tune2fs", "-O", "extents,has_journal,dir_index,uninit_bg,extra_isize", part)
        run("/sbin/e2fsck", "-fyD", part, good=(0, 1))  # 1: it has changed something
        part.replace(out)


def run(*command: object, good: Sequence[int] = (0,)) -> None:
    """Run a program, whose output is shown if it fails."""
    words = [*map(str, command)]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode not in good:
        sys.exit(f"{done.stdout}{shlex.join(words)} failed with status {done.returncode}")


if __name__ == "__main__":
    print(prepare(*sys.argv[1:2]))
