"""``vmspec new``: a complete spec to begin with, with comments."""

import shlex
from collections.abc import Iterator, Sequence
from string import ascii_lowercase

from vmspec.image.foreign import CONTAINERS
from vmspec.show.dump import toml

HEAD = """\
# {what}
# vmspec keys lists every key; vmspec check reports what is wrong; vmrun runs it.
[vm]
{name}
memory = "{memory}"
vcpus = 1
{timeout}   # ends the run

"""
LINUX = """\
[boot]
{files}
{cmdline}

[[device]]   # the console: the terminal that vmrun runs in
kind = "serial"

[[device]]   # resets the machine, as reboot=k says
kind = "i8042"

[[device]]   # powers it off, and names processors and interrupts to the kernel
kind = "acpi"

[[device]]   # the time of day
kind = "rtc"

[[device]]   # entropy, so that the guest does not wait for it
kind = "virtio-rng"
"""
DISK = """
[[device]]   # /dev/vd{letter} in the guest
kind = "virtio-blk"
{lines}
mode = "{mode}"   # {meaning}
"""
MODES = {"rw": "the image keeps what the guest writes", "overlay": "what the guest writes is gone when the run ends"}
OVERLAID = "qcow2"  # the one format beside raw that a run can leave as it is
NETWORK = """
# A network without privileges: the guest gets its address by DHCP.
# [[device]]
# kind = "virtio-net"
# forward = ["tcp:127.0.0.1:2222:22"]   # this host's port 2222 is the guest's 22
"""
FIRMWARE = """\
[boot]
{firmware}   # a ROM image: Debian's package seabios has it
{kernel}
[[device]]   # SeaBIOS's screen, and the console of what it boots
kind = "serial"

[[device]]
kind = "i8042"

[[device]]   # names the disks to SeaBIOS, and processors and interrupts to a kernel
kind = "acpi"

[[device]]   # the time of day
kind = "rtc"

# What SeaBIOS says of itself.
# [[device]]
# kind = "debug-port"
# port = 0x402
# output = "{name}.seabios.txt"
"""
KERNEL = """\
{files}
# SeaBIOS starts a kernel by this option ROM: Debian's package qemu-system-data has it.
files = [{{ name = "genroms/linuxboot_dma.bin", path = "/usr/share/qemu/linuxboot_dma.bin" }}]
"""
UEFI = """\
[boot]
{firmware}   # the code: Debian's package ovmf has it

[[device]]   # the firmware's variables, kept from run to run
kind = "flash"
{path}
{template}   # copied if the file does not exist

[[device]]   # the firmware's console, and that of what it boots
kind = "serial"

[[device]]
kind = "i8042"

[[device]]   # names processors and interrupts to a kernel
kind = "acpi"

[[device]]   # the time of day
kind = "rtc"
"""
FLAT = """\
[boot]
mode = "real"   # real, protected or long
load = 0x1000   # where the code is put, and begins
{code}
[[device]]
kind = "serial"
input = "none"
"""
CODE = '''\
code = """
ba f8 03   # mov dx, 0x3f8    COM1's transmit register
b0 21      # mov al, '!'
ee         # out dx, al
b0 0a      # mov al, 10       a newline
ee         # out dx, al
f4         # hlt              ends the run
"""
'''
TAIL = """
[trace]   # every exit, for vmtrace: vmtrace timeline {trace}
{path}

[expect]   # else vmrun's exit status is 1
exit = {exits}
"""


def linux(name: str, kernel: str, initrd: str | None, disks: Sequence[str], root: bool) -> str:
    """A spec of a Linux guest with at most 26 disks. ``root``: its root file system is on the first of them; they keep
    nothing that the guest writes, if vmrun can do that for their format."""
    files = [_line("kernel", kernel) + "   # a bzImage, as in /boot, or a vmlinux"]
    if initrd is not None:
        files.append(_line("initrd", initrd))
    cmdline = "console=ttyS0 panic=-1 reboot=k" + (" root=/dev/vda rw" if root else "")
    what = "A Linux guest with its root file system on a disk." if root else "A Linux guest."
    parts = [
        HEAD.format(what=what, name=_line("name", name), memory="512MiB", timeout='# timeout = "10min"'),
        LINUX.format(files="\n".join(files), cmdline=_line("cmdline", cmdline)),
    ]
    return "".join((*parts, *_disks(disks, root), NETWORK, _tail(name, '["poweroff", "reset"]')))


def firmware(name: str, image: str, kernel: str | None, initrd: str | None, disks: Sequence[str]) -> str:
    """A spec of a guest that firmware starts: a kernel, or else from a disk. Disks keep nothing that the guest writes,
    as for :func:`linux`."""
    what = f"A guest that firmware starts{' from a disk' if kernel is None else ''}."
    head = HEAD.format(what=what, name=_line("name", name), memory="512MiB", timeout='# timeout = "10min"')
    given = [_line(key, value) for key, value in (("kernel", kernel), ("initrd", initrd)) if value is not None]
    text = "" if kernel is None else KERNEL.format(files="\n".join(given))
    boot = FIRMWARE.format(firmware=_line("firmware", image), kernel=text, name=name)
    return "".join((head, boot, *_disks(disks, root=True), _tail(name, '["poweroff", "reset"]')))


def uefi(name: str, image: str, variables: str, disks: Sequence[str]) -> str:
    """A spec of a guest that UEFI firmware starts from a disk; ``variables`` is the template of the firmware's."""
    what = "A guest that UEFI firmware starts from a disk."
    head = HEAD.format(what=what, name=_line("name", name), memory="512MiB", timeout='# timeout = "10min"')
    lines = (_line("path", f"{name}.vars.fd"), _line("template", variables))
    boot = UEFI.format(firmware=_line("firmware", image), path=lines[0], template=lines[1])
    head = head.replace("vcpus = 1\n", 'vcpus = 1\ntransport = "pci"   # UEFI firmware finds disks there\n')
    return "".join((head, boot, *_disks(disks, root=True), _tail(name, '["poweroff", "reset"]')))


def _disks(disks: Sequence[str], root: bool) -> Iterator[str]:
    for letter, disk in zip(ascii_lowercase, disks, strict=False):
        form = next((ending for ending in CONTAINERS if disk.lower().endswith(f".{ending}")), None)
        kept = "overlay" if root and form in (None, OVERLAID) else "rw"
        lines = [_line("path", disk)] + ([] if form is None else [_line("format", form)])
        yield DISK.format(letter=letter, lines="\n".join(lines), mode=kept, meaning=MODES[kept])


def flat(name: str, kernel: str | None) -> str:
    """A spec of a guest without an operating system: a file's bytes, or a few of its own."""
    code = CODE if kernel is None else _line("kernel", kernel) + "   # its bytes are loaded as they are\n"
    what, timeout = "A guest without an operating system.", 'timeout = "10s"'
    head = HEAD.format(what=what, name=_line("name", name), memory="1MiB", timeout=timeout)
    return head + FLAT.format(code=code) + _tail(name, '"halt"')


def _tail(name: str, exits: str) -> str:
    trace = f"{name}.arrow"
    return TAIL.format(trace=shlex.quote(trace), path=_line("path", trace), exits=exits)


def _line(key: str, value: str) -> str:
    return toml({key: value}).rstrip("\n")
