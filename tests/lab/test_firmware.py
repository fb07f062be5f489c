"""Debian's firmware in the lab. SeaBIOS starts Debian's kernel, to its userspace, iPXE, which does what it is told,
MEMDISK, which boots a disk by the BIOS, and a zImage.
OVMF starts its shell, which does what a disk tells it; on the Intel host, because QEMU aborts in it."""

import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w

from tests.guests import debian, initrd
from tests.lab.labruns import stayed
from tests.vmspec.image import images
from vmspec.document import Document

pytestmark = [pytest.mark.lab, pytest.mark.soak]

VMRUN = Path(sys.executable).with_name("vmrun")
SCRIPT = """cd "$0"
for name in linux ipxe memdisk zimage; do
    "$1" $name.toml --no-trace >$name.console 2>$name.log; echo $? >$name.status
done
"""
PC = [{"kind": "serial", "input": "none"}, {"kind": "i8042"}, {"kind": "rtc"}, {"kind": "acpi"}]
# Commands of iPXE's. Its reboot is the BIOS's, by the reset control register, which Q35 has. SeaBIOS holds back the
# last character of its screen.
IPXE = "echo it runs on ${platform} && reboot"
# Print the text at %ds:%si by the serial port, and reset the machine.
SAY = """
    cld
    mov $0x3f8, %dx
1:  lodsb
    test %al, %al
    jz 2f
    out %al, (%dx)
    jmp 1b
2:  mov $0xcf9, %dx
    mov $2, %al
    out %al, (%dx)
    mov $6, %al
    out %al, (%dx)
    hlt
"""
# The boot sector of a diskette: it has the BIOS read the next sector, with a text.
BOOT_SECTOR = f"""
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov $0x0201, %ax
    mov $2, %cx
    mov $0, %dh
    mov $0x7e00, %bx
    int $0x13
    jc 2f
    mov $0x7e00, %si
    {SAY}
"""
# A zImage's setup code: its payload is at 0x10000 (Documentation/x86/boot.rst, "Loading The Rest of The Kernel").
SETUP = f"""
    mov $0x1000, %ax
    mov %ax, %ds
    xor %si, %si
    {SAY}
"""
SETUP_AT = 0x6C
READ, LOADED = b"vmrun: the second sector\0", b"vmrun: the payload\0"


def diskette(code):
    return (code.ljust(510, b"\0") + b"\x55\xaa" + READ).ljust(1440 << 10, b"\0")


def zimage(code):
    """``code`` is where the jump at the entry leads, which is at the offset 0x200 and IP 0."""
    image = bytearray(
        images.bzimage(kernel=LOADED.ljust(4096, b"\0"), version=0x0203, loadflags=0, code32_start=0x1000)
    )
    image[0x200 + SETUP_AT : 0x200 + SETUP_AT + len(code)] = code
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory, assemble):
    out = tmp_path_factory.mktemp("firmware")
    rom = debian.files("qemu-system-data") / "usr/share/qemu/linuxboot_dma.bin"
    bios = {
        "firmware": str(debian.files("seabios") / "usr/share/seabios/bios-256k.bin"),
        "files": [{"name": "genroms/linuxboot_dma.bin", "path": str(rom)}],
    }
    initrd.write(out / "initrd")
    linux = {
        "vm": {"name": "linux", "memory": "256MiB", "timeout": "5min"},
        "boot": bios | {
            "kernel": str(debian.kernel("6.1-cloud").bzimage), "initrd": "initrd",
            "cmdline": "console=ttyS0 panic=-1 reboot=k",
        },
        "device": PC,
        "expect": {"console": ["SeaBIOS", "vmrun: userspace"], "exit": "reset"},
    }  # fmt: skip
    ipxe = {
        "vm": {"name": "ipxe", "memory": "64MiB", "timeout": "5min"},
        "boot": bios | {"kernel": str(debian.files("ipxe") / "boot/ipxe.lkrn"), "cmdline": IPXE},
        "device": [*PC, {"kind": "lpc"}],
        "expect": {"console": ["iPXE initialising devices", "it runs on pc"], "exit": "reset"},
    }
    (out / "diskette").write_bytes(diskette(assemble(BOOT_SECTOR, origin=0x7C00)))
    memdisk = {
        "vm": {"name": "memdisk", "memory": "64MiB", "timeout": "5min"},
        "boot": bios | {
            "kernel": str(debian.files("syslinux-common") / "usr/lib/syslinux/memdisk"), "initrd": "diskette",
        },
        "device": [*PC, {"kind": "lpc"}],
        "expect": {"console": ["MEMDISK", READ[:-1].decode()], "exit": "reset"},
    }  # fmt: skip
    (out / "zImage").write_bytes(zimage(assemble(SETUP, origin=SETUP_AT)))
    old = {
        "vm": {"name": "zimage", "memory": "64MiB", "timeout": "5min"},
        "boot": bios | {"kernel": "zImage"},
        "device": [*PC, {"kind": "lpc"}],
        "expect": {"console": [LOADED[:-1].decode()], "exit": "reset"},
    }
    for name, spec in (("linux", linux), ("ipxe", ipxe), ("memdisk", memdisk), ("zimage", old)):
        (out / f"{name}.toml").write_text(tomli_w.dumps(spec))
        Document.open(out / f"{name}.toml").plan()
    stayed("--timeout", "30m", "--share", out, "--", "sh", "-c", SCRIPT, out, VMRUN)
    return out


@pytest.mark.parametrize("name", ["linux", "ipxe", "memdisk", "zimage"])
def test_seabios_starts_it(folder, name):
    log = (folder / f"{name}.log").read_text()
    assert (folder / f"{name}.status").read_text() == "0\n", log + (folder / f"{name}.console").read_text()[-3000:]


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """What OVMF left."""
    out, files = tmp_path_factory.mktemp("shell"), tmp_path_factory.mktemp("ovmf")
    ovmf, tools = debian.files("ovmf") / "usr/share/OVMF", debian.files("mtools") / "usr/bin"
    disk, script = files / "disk.img", files / "startup.nsh"
    script.write_text("ver\r\nmemmap\r\necho vmrun: the shell does this\r\nreset -s\r\n")
    subprocess.run([tools / "mformat", "-C", "-i", disk, "-f", "1440", "::"], check=True)
    subprocess.run([tools / "mcopy", "-i", disk, script, "::"], check=True)
    spec = {
        "vm": {"name": "ovmf", "memory": "256MiB", "transport": "pci", "timeout": "3min"},
        "boot": {"firmware": str(ovmf / "OVMF_CODE_4M.fd")},
        "device": [
            *PC,
            {"kind": "flash", "path": str(out / "vars.fd"), "template": str(ovmf / "OVMF_VARS_4M.fd")},
            {"kind": "virtio-blk", "path": "disk.img", "mode": "ro"},
        ],
        "expect": {"console": ["UEFI Interactive Shell", "vmrun: the shell does this"], "exit": "poweroff"},
    }
    (files / "ovmf.toml").write_text(tomli_w.dumps(spec))
    take = [word for path in (files, ovmf) for word in ("--take", path)]
    script = 'cd "$0"; { "$1" "$2" --trace run.arrow 2>log; echo $? >status; } | tee console'
    command = ["sh", "-c", script, out, VMRUN, files / "ovmf.toml"]
    stayed("--host", "intel", "--timeout", "90m", *take, "--share", out, "--", *command)
    return out


def test_ovmf_reaches_its_shell(shell):
    log = (shell / "log").read_text()
    assert (shell / "status").read_text() == "0\n", log + (shell / "console").read_text(errors="replace")[-3000:]


def test_ovmf_keeps_its_variables(shell):
    """It has written to them."""
    template = debian.files("ovmf") / "usr/share/OVMF/OVMF_VARS_4M.fd"
    assert (shell / "vars.fd").read_bytes() != template.read_bytes()
