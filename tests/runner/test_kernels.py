"""Small kernels on the host's KVM that are started by PVH and Multiboot: what they find."""

import struct

import pytest

from runner import run
from tests.vmspec.image import images
from tests.vmspec.image.multiboots import multiboot1, multiboot2

pytestmark = pytest.mark.kvm

# Prints EAX at the entry, then the first byte of the first module, that module's text, and the kernel's command line.
PRINT = """
    mov %eax, %edx
    mov $4, %ecx
1:  mov %edx, %eax
    out %al, $0xe9
    shr $8, %edx
    dec %ecx
    jnz 1b
FIND
    mov (%edi), %al
    out %al, $0xe9
    call text
    mov %ebp, %esi
    call text
    hlt
text:
    mov (%esi), %al
    out %al, $0xe9
    inc %esi
    test %al, %al
    jnz text
    ret
"""
# Put the module's address into EDI, its text's into ESI, the command line's into EBP, and make a stack.
FIND = {
    "multiboot": """
    mov 24(%ebx), %ecx
    mov 16(%ebx), %ebp
    mov (%ecx), %edi
    mov 8(%ecx), %esi
    mov $0x110000, %esp
""",
    "multiboot2": """
    mov $0x110000, %esp
    add $8, %ebx
2:  mov (%ebx), %eax
    cmp $1, %eax
    jne 3f
    lea 8(%ebx), %ebp
3:  cmp $3, %eax
    jne 4f
    mov 8(%ebx), %edi
    lea 16(%ebx), %esi
4:  test %eax, %eax
    jz 5f
    mov 4(%ebx), %eax
    add $7, %eax
    and $-8, %eax
    add %eax, %ebx
    jmp 2b
5:
""",
    "pvh": """
    mov 16(%ebx), %ecx
    mov 24(%ebx), %ebp
    mov (%ecx), %edi
    mov 16(%ecx), %esi
    mov $0x110000, %esp
""",
}
MAGIC = {"multiboot": 0x2BADB002, "multiboot2": 0x36D76289, "pvh": 0}
LOAD = 0x100000


def kernel(form: str, code: bytes) -> bytes:
    """A file with this code, for 0x100000."""
    pvh = images.xen(18, struct.pack("<I", LOAD))
    if form.startswith("elf64"):
        image = images.elf((LOAD, LOAD, code, 0x3000), entry=LOAD)
    else:
        image = images.elf32((LOAD, LOAD, code, 0x3000))
    match form.partition("-")[2]:
        case "multiboot":
            return image + bytes(-len(image) % 4) + multiboot1()
        case "multiboot2":
            return image + bytes(-len(image) % 8) + multiboot2()
        case "pvh":
            return images.noted(image, pvh)
        case _:  # no ELF file
            return multiboot1(1 << 16, (LOAD - 32, LOAD - 32, 0, 0, LOAD)) + code


def ended(folder, boot):
    """The result of a machine with this table boot, whose guest halts."""
    (folder / "guest.toml").write_text(f"""
[vm]
name = "kernel"
memory = "4MiB"
irqchip = "none"
timeout = "20s"
[boot]
{boot}
[[device]]
kind = "debug-port"
[expect]
exit = "halt"
""")
    result = run(folder / "guest.toml")
    assert (result.kind, result.unmet) == ("halt", ())
    return result


@pytest.mark.parametrize(
    "form", ["elf32-multiboot", "elf64-multiboot", "flat", "elf32-multiboot2", "elf32-pvh", "elf64-pvh"]
)
def test_what_a_kernel_finds(form, assemble, tmp_path):
    protocol = form.partition("-")[2] or "multiboot"
    code = assemble(PRINT.replace("FIND", FIND[protocol]), bits=32, origin=LOAD)
    (tmp_path / "kernel").write_bytes(kernel(form, code))
    (tmp_path / "module").write_bytes(b"M")
    result = ended(
        tmp_path,
        f"""
kernel = "kernel"
protocol = "{protocol}"
cmdline = "a line"
modules = [{{ path = "module", cmdline = "its text" }}]
""",
    )
    assert result.console == struct.pack("<I", MAGIC[protocol]) + b"Mits text\0a line\0"


def test_a_unified_kernel_image_runs_with_its_own_initrd_and_command_line(assemble, tmp_path):
    code = assemble(PRINT.replace("FIND", FIND["pvh"]), bits=32, origin=LOAD)
    image = images.uki(linux=kernel("elf32-pvh", code), initrd=b"070701", cmdline=b"its line\0")
    (tmp_path / "kernel.efi").write_bytes(image)
    result = ended(tmp_path, 'kernel = "kernel.efi"')
    assert result.console == struct.pack("<I", MAGIC["pvh"]) + b"0\0its line\0"
