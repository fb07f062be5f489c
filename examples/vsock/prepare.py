"""Put a Debian kernel, and a busybox initrd with its socket driver and vsock.c, beside the spec, as vmlinuz and
initrd.img. It needs a C compiler with a static C library (Debian: gcc, libc6-dev)."""

import gzip
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from tests.guests import debian, initrd  # noqa: E402 - found through the path above

DRIVERS = ("virtio_mmio", "vmw_vsock_virtio_transport")


def prepare(where: Path = HERE) -> None:
    """Fetch the kernel if it is missing, and write the initrd."""
    kernel = debian.kernel("6.1-cloud")
    link = where / "vmlinuz"
    link.unlink(missing_ok=True)
    link.symlink_to(kernel.bzimage)
    modules = debian.modules(kernel, DRIVERS)
    entries = initrd.busybox((HERE / "init").read_bytes())
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch, "vsock")
        subprocess.run(["cc", "-static", "-O1", "-o", program, HERE / "vsock.c"], check=True)
        entries["bin/vsock"] = initrd.executable(program.read_bytes())
    entries["modules/list"] = initrd.regular(" ".join(modules).encode())
    for name, image in modules.items():
        entries[f"modules/{name}.ko"] = initrd.regular(debian.unsigned(image))
    (where / "initrd.img").write_bytes(gzip.compress(initrd.archive(entries), mtime=0))


if __name__ == "__main__":
    prepare()
