"""Firmware of the tests' own on the host's KVM."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner import run
from vmspec.registers import fwcfg as R

pytestmark = pytest.mark.kvm

# Of a ROM in the copy below 1 MiB: enter protected mode at `flat`.
ENTER = """
    cs lgdtl table
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmpl $8, $(0xf0000 + flat)
    .balign 8
descriptors:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
table:
    .word table - descriptors - 1
    .long 0xf0000 + descriptors
"""
# A ROM of 4 KiB. It begins at its last 16 bytes, goes on in its copy below 1 MiB, enters protected mode, and prints
# what it finds in the ROM under 4 GiB and in the copy after writing to both.
ROM = f"""{ENTER}
rom:
    .byte 'R'
copy:
    .byte 'C'
    .code32
flat:
    mov $16, %ax
    mov %ax, %ds
    mov $0xffff0000 + rom, %ebx
    mov $0x000f0000 + copy, %ecx
    movb $'r', (%ebx)
    movb $'c', (%ecx)
    mov (%ebx), %al
    out %al, $0xe9
    mov (%ecx), %al
    out %al, $0xe9
    mov $0xfffff000 + copy - 0xf000, %ebx
    mov (%ebx), %al
    out %al, $0xe9
    mov $4, %al
    out %al, $0xf4
    .org 0xff0
    .code16
    ljmp $0xf000, $0xf000
    .org 0x1000
"""


# Prints the signature and the number of files by port, then the whole directory by a transfer to 0x2000 whose structure
# is at 0x1000.
READS = """
    xor %ax, %ax
    mov %ax, %ds
    mov $0x510, %dx
    out %ax, %dx
    mov $4, %cx
    call bytes
    mov $0x19, %ax
    out %ax, %dx
    mov $4, %cx
    call bytes
    movl $0x0a001900, 0x1000
    movl $0x84000000, 0x1004
    movl $0, 0x1008
    movl $0x00200000, 0x100c
    mov $0x518, %dx
    mov $0x00100000, %eax
    out %eax, %dx
    mov $0x2000, %si
    mov $0x84, %cx
1:  lodsb
    out %al, $0xe9
    loop 1b
    mov 0x1003, %al
    out %al, $0xe9
    mov $4, %al
    out %al, $0xf4
bytes:
    inc %dx
1:  in %dx, %al
    out %al, $0xe9
    loop 1b
    dec %dx
    ret
    .org 0xff0
    ljmp $0xf000, $0xf000
    .org 0x1000
"""


@pytest.fixture
def start(tmp_path: Path, assemble: Callable[..., bytes]) -> Callable[..., Any]:
    """Runs a machine with a ROM from assembler text."""

    def started(source: str, vm: str = "", pad: int = 0, devices: str = "") -> Any:
        (tmp_path / "rom").write_bytes(b"\xff" * pad + assemble(source, origin=0xF000))
        (tmp_path / "guest.toml").write_text(f"""
[vm]
name = "rom"
memory = "1MiB"
timeout = "20s"
{vm}
[boot]
firmware = "rom"
[[device]]
kind = "debug-port"
[[device]]
kind = "debug-exit"
{devices}
[expect]
exit = "debug-exit"
status = 9
""")
        result = run(tmp_path / "guest.toml")
        assert (result.kind, result.unmet) == ("debug-exit", ())
        return result

    return started


@pytest.mark.parametrize("vm", ["", 'irqchip = "none"', 'time = "virtual"'])
def test_firmware_begins_as_after_reset(start: Callable[..., Any], vm: str) -> None:
    """The ROM under 4 GiB keeps its bytes; its copy below 1 MiB is RAM."""
    assert start(ROM, vm).console == b"RcC"


def test_only_the_last_part_of_firmware_is_below_1_mib(start: Callable[..., Any]) -> None:
    assert start(ROM, pad=(512 << 10) - 4096).console == b"RcC"


def test_firmware_reads_fw_cfg_by_port_and_by_transfers(start: Callable[..., Any]) -> None:
    result = start(READS, devices='[[device]]\nkind = "serial"\ninput = "none"')
    directory = struct.pack(R.COUNT, 2)
    directory += struct.pack(R.FILE, 40, 0x20, b"etc/e820") + struct.pack(R.FILE, 8, 0x21, b"etc/sercon-port")
    assert result.console == b"QEMU" + directory[:4] + directory + b"\0"
