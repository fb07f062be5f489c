"""Put a Debian kernel, and a busybox initrd with its socket driver and vsock.c, beside the spec, as vmlinuz and
initrd.img. It needs a C compiler with a static C library (Debian: gcc, libc6-dev)."""

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from tests.guests import beside, initrd  # noqa: E402 - found through the path above

DRIVERS = ("virtio_mmio", "vmw_vsock_virtio_transport")


def prepare(where: Path = HERE) -> None:
    """Fetch the kernel if it is missing, and write the initrd."""
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch, "vsock")
        subprocess.run(["cc", "-static", "-O1", "-o", program, HERE / "vsock.c"], check=True)
        beside.put(where, HERE / "init", DRIVERS, {"bin/vsock": initrd.executable(program.read_bytes())})


if __name__ == "__main__":
    prepare()
