"""The guest of a spec boots to the same console lines with vmrun and with the QEMU command that vmspec exports."""

import subprocess
import sys
from pathlib import Path

import pytest

import vmspec
from tests.guests import debian, initrd
from vmspec.exchange.exporting import export

pytestmark = [pytest.mark.lab, pytest.mark.soak]

LAB = Path(__file__).parent / "lab"
SPEC = """
[vm]
name = "linux"
memory = "256MiB"
vcpus = 2
transport = "TRANSPORT"
[boot]
kernel = "KERNEL"
initrd = "initrd.img"
cmdline = "console=ttyS0 reboot=k panic=-1"
[[device]]
kind = "i8042"
[[device]]
kind = "rtc"
[[device]]
kind = "acpi"
[[device]]
kind = "serial"
input = "none"
[[device]]
kind = "virtio-rng"
[expect]
console = "vmrun: userspace"
"""


def console(folder: Path, *command: str) -> list[bytes]:
    """The first word that the guest prints in userspace: the number of processors."""
    done = subprocess.run(
        [LAB, "--timeout", "600s", "--", *command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    return done.stdout.partition(b"vmrun: userspace")[2].split()[:1]


@pytest.mark.parametrize("transport", ["mmio", "pci"])
def test_both_reach_userspace_with_all_processors(transport, tmp_path):
    kernel = debian.kernel("6.1-cloud").bzimage
    initrd.write(tmp_path / "initrd.img")
    (tmp_path / "guest.toml").write_text(SPEC.replace("TRANSPORT", transport).replace("KERNEL", str(kernel)))
    (tmp_path / "run-qemu").write_text(export("qemu", vmspec.load(tmp_path / "guest.toml"))[0])
    vmrun = console(tmp_path, f"{Path(sys.executable).parent}/vmrun", "guest.toml")
    assert vmrun == console(tmp_path, "sh", "run-qemu") == [b"2"]
