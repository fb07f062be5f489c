"""The command ``vmspec import``."""

import pytest

import vmspec
from tests.vmspec.exchange.cases import files
from vmspec.cli import main
from vmspec.devices.storage import Flash


def test_a_command_line_after_two_dashes(tmp_path, capsys):
    assert main(["import", "lkvm", "--", "run", "-k", "bzImage", "-n", "mode=none", "-c", "2"]) == 0
    spec = vmspec.loads(capsys.readouterr().out, tmp_path)
    assert (spec.vm.vcpus, spec.boot.kernel) == (2, tmp_path / "bzImage")
    # Options of vmspec may follow the tool's name.
    output = tmp_path / "x.toml"
    assert main(["import", "qemu", "-o", str(output), "--", "qemu-system-x86_64", "-kernel", "/bzImage"]) == 0
    assert vmspec.load(output).vm.transport == "pci"


@pytest.mark.parametrize("arguments", [["qemu"], ["qemu", "x", "--", "y"], ["bochs", "x"]])
def test_wrong_calls(arguments):
    with pytest.raises(SystemExit) as error:
        main(["import", *arguments])
    assert error.value.code == 2


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("qemu -m lots -kernel k", "x:1:6: -m size: is not a size (here: lots); allowed: a size such as 512M or 2G"),
        ("qemu -kernel k \\\n -smp 300", "x:2:2: -smp: vm.vcpus: is out of range (here: 300); allowed: a whole number"),
        ("qemu -kernel k -device virtio-blk-pci,drive=d", "x:1:16: -device drive: there is no -drive with this id"),
        ("qemu -kernel k -m", "x:1:16: -m: needs a value"),
        ("qemu -kernel k -device virtio-net,netdev=n,mac=1 -netdev user,id=n", "x:1:16: -device mac: device[4].mac"),
        ("qemu -kernel k -device {", "x:1:16: -device: is not JSON"),
        ("ls", "x:1:1: has no command that runs QEMU"),
    ],
)
def test_problems_are_at_the_option_that_gave_the_value(command, problem, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_text(command)
    assert main(["import", "qemu", "x"]) == 2
    output = capsys.readouterr()
    assert output.err.startswith(problem)
    assert output.out == ""


def test_without_a_kernel_the_spec_is_incomplete(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_text("qemu -drive file=disk.img,if=virtio,format=raw")
    assert main(["import", "qemu", "x", "-o", "y.toml"]) == 1
    assert "x: boot: a spec needs boot.kernel" in capsys.readouterr().err
    assert "# a spec needs boot.kernel" in (tmp_path / "y.toml").read_text()


@pytest.mark.parametrize(
    ("tool", "text"),
    [
        ("qemu", "qemu -drive file=disk.img,if=virtio,format=raw -bios bios.bin"),
        ("lkvm", "lkvm run --firmware bios.bin -d disk.img"),
        (
            "libvirt",
            "<domain type='kvm'><name>x</name><os><type>hvm</type>"
            "<loader readonly='yes' type='rom'>bios.bin</loader></os></domain>",
        ),
    ],
)
def test_firmware_starts_the_machine(tool, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_text(text)
    assert main(["import", tool, "x"]) == 0
    output = capsys.readouterr()
    boot = vmspec.loads(output.out, tmp_path).boot
    assert (boot.kernel, boot.firmware, boot.cmdline) == (None, tmp_path / "bios.bin", "")
    assert "bios.bin" not in output.err


@pytest.mark.parametrize(
    ("tool", "text", "template", "mode"),
    [
        (
            "qemu",
            "qemu -drive if=pflash,format=raw,unit=0,readonly=on,file=code.fd -drive if=pflash,unit=1,file=vars.fd",
            None,
            "rw",
        ),
        ("qemu", "qemu -pflash code.fd -pflash vars.fd -snapshot", None, "overlay"),
        (
            "libvirt",
            "<domain type='kvm'><name>x</name><os><type>hvm</type><loader readonly='yes' type='pflash'>code.fd</loader>"
            "<nvram template='new.fd'>vars.fd</nvram></os></domain>",
            "new.fd",
            "rw",
        ),
    ],
)
def test_the_first_flash_memory_is_the_firmware(tool, text, template, mode, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_text(text)
    assert main(["import", tool, "x"]) == 0
    output = capsys.readouterr()
    spec = vmspec.loads(output.out, tmp_path)
    (flash,) = [device for device in spec.devices if isinstance(device, Flash)]
    assert (spec.boot.firmware, flash.path) == (tmp_path / "code.fd", tmp_path / "vars.fd")
    assert (flash.template, flash.mode) == (template and tmp_path / template, mode)
    assert not [line for line in output.err.splitlines() if "fd" in line]


def test_a_spec_in_another_folder_has_absolute_paths(tmp_path, monkeypatch):
    files(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_text("qemu -kernel bzImage -drive file=disk.img,if=virtio,format=raw")
    for name in ("here.toml", "sub/there.toml"):
        assert main(["import", "qemu", "x", "-o", name]) == 0
        spec = vmspec.load(name)
        assert spec.boot.kernel == tmp_path / "bzImage"
        assert [device.path for device in spec.devices if hasattr(device, "path")] == [tmp_path / "disk.img"]


def test_only_one_device_reads_the_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = "qemu -kernel k -nographic -chardev stdio,id=c -device virtio-serial -device virtconsole,chardev=c"
    (tmp_path / "x").write_text(command)
    assert main(["import", "qemu", "x"]) == 0
    spec = vmspec.loads(capsys.readouterr().out, tmp_path)
    assert [device.input for device in spec.devices if hasattr(device, "input")] == ["stdin", "none"]


def test_a_file_called_as_a_word_of_a_spec(tmp_path, capsys):
    assert main(["import", "lkvm", "--", "run", "-k", "none", "-d", "stdin", "-n", "mode=none"]) == 0
    spec = vmspec.loads(capsys.readouterr().out, tmp_path)
    assert spec.boot.kernel == tmp_path / "none"


def test_paths_that_are_not_utf8(tmp_path, capsys):
    assert main(["import", "lkvm", "--", "run", "-k", "caf\udce9", "-n", "mode=none"]) == 0
    assert vmspec.loads(capsys.readouterr().out, tmp_path).boot.kernel == tmp_path / "caf\udce9"


def test_a_shell_is_needed_for_some_words(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_text("qemu -kernel $HOME/bzImage")
    assert main(["import", "qemu", "x"]) == 0
    output = capsys.readouterr()
    assert output.err == "x:1:14: $HOME/bzImage: only a shell can expand it: write its value\n"
    assert 'kernel = "$HOME/bzImage"' in output.out


def test_null_is_as_if_it_were_not_given(tmp_path, monkeypatch, capsys):
    """As Firecracker's API returns a configuration."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_text('{"boot-source": {"kernel_image_path": "k", "initrd_path": null, "boot_args": null}}')
    assert main(["import", "firecracker", "x"]) == 0
    assert vmspec.loads(capsys.readouterr().out, tmp_path).boot.initrd is None
