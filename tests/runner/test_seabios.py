"""Debian's SeaBIOS on the host's KVM: it finds its machine in fw_cfg, and boots a disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner import run
from tests.guests import debian

pytestmark = [pytest.mark.kvm, pytest.mark.soak]

# A boot sector that prints by the BIOS, and ends the run with status 67.
SECTOR = """
    ljmp $0, $1f
1:  xor %ax, %ax
    mov %ax, %ds
    mov $text, %si
2:  lodsb
    test %al, %al
    jz 3f
    mov $0x0e, %ah
    mov $7, %bx
    int $0x10
    jmp 2b
3:  mov $0x21, %al
    out %al, $0xf4
    hlt
text:
    .asciz "the boot sector runs, and ends."
    .org 510
    .word 0xaa55
"""


@pytest.mark.parametrize("transport", ["mmio", "pci"])
@pytest.mark.parametrize("image", ["bios-microvm.bin", "bios-256k.bin"])
def test_seabios_boots_a_disk(image: str, transport: str, tmp_path: Path, assemble: Callable[..., Any]) -> None:
    """By virtio-mmio, which it finds in the ACPI tables, and by PCI, where it places the device anew. Its own text is
    on the debug port, and what the BIOS prints on the serial port too."""
    disk = assemble(SECTOR, origin=0x7C00)
    (tmp_path / "disk.img").write_bytes(disk.ljust(4 << 20, b"\0"))
    firmware = debian.files("seabios") / "usr" / "share" / "seabios" / image
    (tmp_path / "guest.toml").write_text(f"""
[vm]
name = "seabios"
memory = "64MiB"
vcpus = 2
transport = "{transport}"
timeout = "5min"
[boot]
firmware = "{firmware}"
[[device]]
kind = "debug-port"
port = 0x402
output = "{tmp_path}/debug.txt"
[[device]]
kind = "serial"
input = "none"
[[device]]
kind = "rtc"
[[device]]
kind = "acpi"
[[device]]
kind = "debug-exit"
[[device]]
kind = "virtio-blk"
path = "disk.img"
mode = "overlay"
[expect]
exit = "debug-exit"
status = 67
console = "the boot sector runs"
""")
    result = run(tmp_path / "guest.toml")
    assert (result.kind, result.unmet) == ("debug-exit", ())
    said = (tmp_path / "debug.txt").read_text()
    assert "Found QEMU fw_cfg" in said
    assert "QEMU fw_cfg DMA interface supported" in said
    assert "Found 2 cpu(s) max supported 2 cpu(s)" in said
    assert "ACPI: parse DSDT" in said
    assert "Booting from 0000:7c00" in said


PATHS = {"mmio": "/virtio-mmio@00000000d0001000/disk@0,0", "pci": "/pci@i0cf8/scsi@2/disk@0,0"}  # of the second disk


@pytest.mark.parametrize("transport", PATHS)
@pytest.mark.parametrize("image", ["bios-microvm.bin", "bios-256k.bin"])
def test_seabios_boots_the_first_disk_or_that_of_bootorder(
    image: str, transport: str, tmp_path: Path, assemble: Callable[..., Any]
) -> None:
    """The disks' boot sectors end the run with a status of their own."""
    for number in (1, 2):
        disk = assemble(SECTOR.replace("$0x21", f"${number}"), origin=0x7C00)
        (tmp_path / f"disk{number}.img").write_bytes(disk.ljust(1 << 20, b"\0"))
    (tmp_path / "order").write_text(f"{PATHS[transport]}\n")
    firmware = debian.files("seabios") / "usr" / "share" / "seabios" / image
    for status, files in ((3, ""), (5, 'files = [{ name = "bootorder", path = "order" }]')):
        (tmp_path / "guest.toml").write_text(f"""
[vm]
name = "seabios"
memory = "64MiB"
transport = "{transport}"
timeout = "5min"
[boot]
firmware = "{firmware}"
{files}
[[device]]
kind = "acpi"
[[device]]
kind = "debug-exit"
[[device]]
kind = "virtio-blk"
path = "disk1.img"
mode = "ro"
[[device]]
kind = "virtio-blk"
path = "disk2.img"
mode = "ro"
""")
        result = run(tmp_path / "guest.toml")
        assert (result.kind, result.status) == ("debug-exit", status)
