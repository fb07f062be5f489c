import pytest
from hypothesis import given
from hypothesis import strategies as st

import vmspec
from vmspec.cli import main
from vmspec.devices.models import KINDS
from vmspec.show import new

LINUX = ["serial", "i8042", "acpi", "rtc", "virtio-rng"]


def made(capsys, *arguments):
    assert main(["new", *arguments]) == 0
    return vmspec.loads(capsys.readouterr().out, "/here")


def kinds(spec):
    names = {model: kind for kind, model in KINDS.items()}
    return [names[type(device)] for device in spec.devices]


def test_a_linux_guest_has_what_it_needs_to_print_reset_and_power_off(capsys):
    spec = made(capsys, "linux", "--kernel", "/boot/vmlinuz", "--initrd", "initrd.img")
    assert (str(spec.boot.kernel), str(spec.boot.initrd)) == ("/boot/vmlinuz", "/here/initrd.img")
    assert kinds(spec) == LINUX
    assert spec.boot.cmdline == "console=ttyS0 panic=-1 reboot=k"
    assert (spec.vm.name, spec.trace.path.name, spec.expect.exit) == ("linux", "linux.arrow", ("poweroff", "reset"))


def test_a_root_on_a_disk_is_left_as_it_is(capsys):
    spec = made(capsys, "disk", "--disk", "root.img", "--disk", "data.QCOW2", "--disk", "old.vdi", "--name", "deb ian")
    assert "root=/dev/vda rw" in spec.boot.cmdline
    assert kinds(spec) == [*LINUX, *["virtio-blk"] * 3]
    disks = [(disk.path.name, disk.format, disk.mode) for disk in spec.devices[-3:]]
    assert disks == [("root.img", "raw", "overlay"), ("data.QCOW2", "qcow2", "overlay"), ("old.vdi", "vdi", "rw")]
    assert (spec.vm.name, spec.trace.path.name) == ("deb ian", "deb ian.arrow")


def test_disks_beside_an_initrd_keep_what_is_written(capsys):
    spec = made(capsys, "linux", "--disk", "data.img")
    assert (spec.boot.kernel.name, spec.boot.initrd) == ("vmlinuz", None)
    assert (spec.devices[-1].mode, "root=" in spec.boot.cmdline) == ("rw", False)


def test_a_flat_guest_is_a_file_or_a_few_bytes(capsys):
    assert made(capsys, "flat").boot.code.startswith(b"\xba\xf8\x03")
    assert made(capsys, "flat", "--kernel", "guest.bin").boot.kernel.name == "guest.bin"


def test_firmware_boots_a_disk_that_is_left_as_it_is(capsys):
    spec = made(capsys, "firmware", "--disk", "disk.img", "--name", 'a "b"')
    assert (str(spec.boot.firmware), spec.boot.kernel) == ("/usr/share/seabios/bios-microvm.bin", None)
    assert kinds(spec) == ["serial", "i8042", "acpi", "rtc", "virtio-blk"]
    assert (spec.devices[-1].path.name, spec.devices[-1].mode, spec.vm.transport) == ("disk.img", "overlay", "mmio")
    assert made(capsys, "firmware", "--disk", "x", "--firmware", "rom").boot.firmware.name == "rom"


def test_uefi_firmware_keeps_its_variables(capsys):
    spec = made(capsys, "firmware", "--variables", "/OVMF_VARS.fd", "--disk", "x", "--name", "own")
    assert (str(spec.boot.firmware), spec.vm.transport) == ("/usr/share/OVMF/OVMF_CODE_4M.fd", "pci")
    assert kinds(spec) == ["flash", "serial", "i8042", "acpi", "rtc", "virtio-blk"]
    flash = spec.devices[0]
    assert (flash.path.name, str(flash.template), flash.mode) == ("own.vars.fd", "/OVMF_VARS.fd", "rw")


def test_firmware_boots_a_kernel_by_an_option_rom(capsys):
    boot = made(capsys, "firmware", "--kernel", "ipxe.lkrn", "--initrd", "script").boot
    assert (boot.firmware.name, boot.kernel.name, boot.initrd.name) == ("bios-microvm.bin", "ipxe.lkrn", "script")
    assert [file.name for file in boot.files] == ["genroms/linuxboot_dma.bin"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["disk"], "--disk FILE"),
        (["flat", "--initrd", "x"], "no --initrd, --disk, --firmware or --variables"),
        (["firmware", "--variables", "x"], "--disk FILE"),
        (["firmware", "--variables", "x", "--kernel", "y"], "leave out --kernel and --initrd"),
        (["disk", "--variables", "x"], "for the kind firmware"),
        (["firmware"], "--disk FILE"),
        (["firmware", "--disk", "x", "--initrd", "y"], "--initrd is for --kernel FILE"),
        (["linux", "--firmware", "x"], "are for the kind firmware"),
        (["linux", "--name", "a/b"], "--name"),
        (["linux", "--name", "a\nb"], "--name"),
        (["windows"], "invalid choice"),
    ],
)
def test_what_it_cannot_make_is_told(capsys, arguments, said):
    with pytest.raises(SystemExit) as raised:
        main(["new", *arguments])
    assert raised.value.code == 2
    assert said in capsys.readouterr().err


def test_a_value_that_no_spec_can_have_is_told(capsys):
    assert main(["new", "linux", "--kernel", ""]) == 2
    assert "boot.kernel" in capsys.readouterr().err


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=40).filter(
    lambda name: name not in (".", "..")
)


@given(NAMES.filter(str.isprintable), NAMES, NAMES, st.lists(NAMES, max_size=3, unique=True), st.booleans())
def test_every_name_reads_back(name, kernel, initrd, disks, root):
    text = new.linux(name, f"/k/{kernel}", f"/i/{initrd}", [f"/d/{disk}" for disk in disks], root)
    spec = vmspec.loads(text, "/")
    assert (spec.vm.name, spec.boot.kernel.name, spec.boot.initrd.name) == (name, kernel, initrd)
    assert [disk.path.name for disk in spec.devices[5:]] == disks
