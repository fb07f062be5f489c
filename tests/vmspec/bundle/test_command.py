"""``vmspec bundle`` and ``vmspec unbundle``."""

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.vmspec.bundle.folders import FILES, fill, members, sparse, tree
from tests.vmspec.lock.locks import LOCK
from vmspec.bundle import command, gathering
from vmspec.bundle.archive import bundle
from vmspec.cli import main
from vmspec.lock.host import HostUnknownError
from vmspec.plan import cpu_model_file

TRACE = b"ARROW1\0\0and so on"


@pytest.fixture
def spec(tmp_path, monkeypatch):
    """The spec of a guest with every kind of file; the folder of the tests is empty."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return fill(tmp_path / "here")


def vmspec(capsys, *arguments):
    status = main([*map(str, arguments)])
    output = capsys.readouterr()
    return status, output.out, output.err


def made(capsys, spec, *options):
    """The names in the bundle of a spec."""
    status, out, err = vmspec(capsys, "bundle", spec, "-o", "boot.vmz", *options)
    assert (status, err) == (0, ""), (out, err)
    with bundle(Path("boot.vmz")) as opened:
        return list(opened.manifest.files)


def unbundled(capsys, output="there"):
    """The folder of a bundle, whose spec agrees with its lock."""
    assert vmspec(capsys, "unbundle", "boot.vmz", "-o", output)[::2] == (0, "")
    spec = next(path for path in Path(output).glob("*.toml"))
    assert vmspec(capsys, "lock", "--check", spec) == (0, f"{spec}.lock: is up to date\n", "")
    return tree(Path(output))


def refused(capsys, *arguments):
    """Why nothing is written."""
    before = sorted(Path().rglob("*"))
    status, out, err = vmspec(capsys, *arguments)
    assert (status, out, sorted(Path().rglob("*"))) == (2, "", before)
    return err


def test_a_folder_comes_out_as_it_went_in(spec, capsys):
    made(capsys, spec)
    found = unbundled(capsys)
    del found["guest.toml.lock"]
    assert found == tree(spec.parent) == {**FILES, "guest.toml": spec.read_bytes()} | {"guest.toml": spec.read_bytes()}


def test_what_is_printed(spec, capsys):
    status, out, err = vmspec(capsys, "bundle", spec)
    size = Path("guest.vmz").stat().st_size
    assert (status, out, err) == (0, f"guest.vmz: {len(FILES) + 2} files, {size:,} bytes\n", "")
    assert vmspec(capsys, "unbundle", "guest.vmz") == (
        0,
        f"guest/guest.toml: {len(FILES) + 2} files in guest\n",
        "",
    )


def test_the_same_files_are_the_same_bytes(spec, capsys, tmp_path):
    made(capsys, spec)
    first = Path("boot.vmz").read_bytes()
    made(capsys, fill(tmp_path / "other"))
    assert Path("boot.vmz").read_bytes() == first


def test_tar_opens_it(spec, capsys):
    names = made(capsys, spec)
    done = subprocess.run(["tar", "--zstd", "-tf", "boot.vmz"], capture_output=True, check=True, text=True)
    assert (done.stdout.splitlines(), done.stderr) == ([".bundle.toml", *names], "")
    Path("there").mkdir()
    subprocess.run(["tar", "--zstd", "-xf", "boot.vmz", "-C", "there"], check=True)
    assert vmspec(capsys, "lock", "--check", "there/guest.toml")[0] == 0


def test_a_disk_with_holes_is_small_in_the_archive_and_on_disk(spec, capsys):
    size = 8 << 20
    content = sparse(spec.parent / "ro.img", size, {1 << 20: b"data", size - 512: b"end"})
    made(capsys, spec)
    disk = next(member for member in members(Path("boot.vmz")) if member.name == "ro.img")
    assert (disk.size, disk.issparse(), Path("boot.vmz").stat().st_size < 1 << 16) == (size, True, True)
    assert unbundled(capsys)["ro.img"] == content
    assert Path("there/ro.img").stat().st_blocks * 512 < 1 << 20
    Path("tarred").mkdir()
    subprocess.run(["tar", "--zstd", "-xf", "boot.vmz", "-C", "tarred"], check=True)
    assert Path("tarred/ro.img").read_bytes() == content


def test_the_same_content_is_in_the_archive_once(spec, capsys):
    content = os.urandom(4096)
    for name in ("ro.img", "rw.img", "pmem.img"):
        (spec.parent / name).write_bytes(content)
    made(capsys, spec)
    assert [m.name for m in members(Path("boot.vmz")) if m.size == len(content)] == ["pmem.img"]
    found = unbundled(capsys)
    assert {found[name] for name in ("ro.img", "rw.img", "pmem.img")} == {content}


def test_a_copy_of_a_disk_with_holes_has_holes(spec, capsys):
    size = 16 << 20
    for name in ("ro.img", "rw.img"):
        content = sparse(spec.parent / name, size, {1 << 20: b"data"})
    made(capsys, spec)
    assert unbundled(capsys)["rw.img"] == content
    assert Path("there/rw.img").stat().st_blocks * 512 < 1 << 20


def test_images_of_other_folders_are_put_beside_the_spec(spec, capsys, tmp_path):
    (tmp_path / "k").write_bytes(b"\x90\xf4")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/k").write_bytes(b"symbols")
    text = spec.read_text().replace('"k"', f'"{tmp_path}/k"').replace('"map"', '"../deep/k"')
    spec.write_text(text)
    assert {"images/k", "images/2/k"} <= {*made(capsys, spec)}
    found = unbundled(capsys)
    assert (found["images/k"], found["images/2/k"]) == (b"\x90\xf4", b"symbols")
    boot = tomllib.loads(found["guest.toml"].decode())["boot"]
    assert (boot["kernel"], boot["symbols"]) == ("images/k", "images/2/k")
    assert str(tmp_path) not in found["guest.toml"].decode() + found["guest.toml.lock"].decode()


def test_overrides_are_in_the_bundles_spec(spec, capsys):
    (spec.parent / "other").write_bytes(b"\x90\xf4")
    made(capsys, spec, "--set", "vm.memory=2MiB", "--set", "boot.kernel=other")
    found = unbundled(capsys)
    table = tomllib.loads(found["guest.toml"].decode())
    assert (table["vm"]["memory"], table["boot"]["kernel"], "k" in found) == ("2MiB", "other", False)
    assert "#   --set vm.memory=2MiB\n" in found["guest.toml"].decode()


def test_a_file_whose_name_is_a_word_of_the_key(spec, capsys):
    (spec.parent / "none").write_bytes(b"\xf4")
    spec.write_text(spec.read_text().replace('input = "typed"', 'input = "./none"'))
    made(capsys, spec, "--set", "vm.memory=2MiB")
    assert unbundled(capsys)["none"] == b"\xf4"


def test_names_that_are_not_text(spec, capsys):
    name = b"k\xff\xc3\xa9"
    (spec.parent / os.fsdecode(name)).write_bytes(b"\xf4")
    spec.write_text(spec.read_text().replace('kernel = "k"', r'kernel = "k\u0000ff\u00e9"'))
    assert "k\0ffé" in made(capsys, spec)
    assert unbundled(capsys)[os.fsdecode(name)] == b"\xf4"


def test_a_cpu_model_is_a_file_of_the_bundle(spec, capsys, tmp_path):
    model = tmp_path / "cpu.toml"
    model.write_text(cpu_model_file.dumps(LOCK.host.must.cpuid))
    spec.write_text(spec.read_text() + f'[cpu]\nmodel = "{model}"\n')
    assert "images/cpu.toml" in made(capsys, spec)
    assert unbundled(capsys)["images/cpu.toml"] == model.read_bytes()


def test_a_reference_that_the_spec_expects_is_a_file_of_the_bundle(spec, capsys, tmp_path):
    (tmp_path / "golden.arrow").write_bytes(TRACE)
    spec.write_text(spec.read_text() + f'[expect]\nreference = "{tmp_path}/golden.arrow"\n')
    assert "images/golden.arrow" in made(capsys, spec)
    assert unbundled(capsys)["images/golden.arrow"] == TRACE


def test_a_reference_trace_goes_in_with_its_tables(spec, capsys, tmp_path):
    for name in ("golden.arrow", "golden.requests.arrow"):
        (tmp_path / name).write_bytes(TRACE + name.encode())
    made(capsys, spec, "--reference", tmp_path / "golden.arrow")
    found = unbundled(capsys)
    assert found["reference.arrow"] == TRACE + b"golden.arrow"
    assert found["reference.requests.arrow"] == TRACE + b"golden.requests.arrow"


@pytest.mark.parametrize(
    ("content", "why"), [(b"\xff\xff\xff\xff", "is not a finished trace"), (None, "cannot be read")]
)
def test_a_reference_that_is_no_trace(spec, capsys, tmp_path, content, why):
    if content is not None:
        (tmp_path / "x.arrows").write_bytes(content)
    assert why in refused(capsys, "bundle", spec, "--reference", tmp_path / "x.arrows")


def test_the_lock_beside_the_spec_is_the_bundles(spec, capsys, monkeypatch):
    assert vmspec(capsys, "lock", spec)[0] == 0

    def unknown(cpu):
        raise HostUnknownError("no KVM")

    monkeypatch.setattr(command, "facts", unknown)  # the lock has this host's facts
    made(capsys, spec)
    assert unbundled(capsys)["guest.toml.lock"] == (spec.parent / "guest.toml.lock").read_bytes()


def test_a_lock_that_differs_is_not_packed(spec, capsys):
    vmspec(capsys, "lock", spec)
    (spec.parent / "k").write_bytes(b"\x90\xf4")
    status, out, err = vmspec(capsys, "bundle", spec)
    assert (status, "images.kernel: was 1 byte" in out, [*Path().iterdir()]) == (1, True, [])
    assert err == f"vmspec: no bundle was written; to replace the lock: vmspec lock --update {spec}\n"


def test_without_a_lock_the_host_must_be_known(spec, capsys, monkeypatch):
    def unknown(cpu):
        raise HostUnknownError("no KVM")

    monkeypatch.setattr(command, "facts", unknown)
    assert vmspec(capsys, "bundle", spec) == (3, "", "vmspec: no KVM\n")
    assert [*Path().iterdir()] == []


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('output = "out/log"', 'output = "/var/log/x"', "writes only below the folder it runs in"),
        ('output = "out/log"', 'output = "../x"', "override it with --set device[0].output=FILE"),
        ('path = "guest.arrow"', 'path = "../x.arrow"', "--set trace.path=FILE"),
        ('input = "typed"', 'input = "/dev/tty"', "is a device: a bundle has only files"),
        ('input = "typed"', 'input = "gone"', "cannot be read: No such file"),
        ("parts.square", "parts.gone", "there is no file"),
    ],
)
def test_what_no_bundle_can_have(spec, capsys, old, new, why):
    text = spec.read_text()
    assert old in text
    spec.write_text(text.replace(old, new))
    line = 1 + text[: text.index(old)].count("\n")
    err = refused(capsys, "bundle", spec)
    assert (why in err, err.startswith(f"{spec}:{line}:"), err.count("\n")) == (True, True, 1), err


def test_a_shared_folder_is_none_of_its_files(tmp_path, capsys, spec):
    device = '[[device]]\nkind = "virtio-fs"\npath = "parts"\ntag = "x"\n'
    spec.write_text(spec.read_text() + device)
    assert "parts is a folder: a bundle has only files" in refused(capsys, "bundle", spec)


@pytest.mark.parametrize("name", ["boot.toml", "boot", "boot.vmz.tar"])
def test_a_bundles_name_ends_as_vmrun_wants_it(spec, capsys, name):
    assert "a bundle's name ends in .vmz" in refused(capsys, "bundle", spec, "-o", name)


def test_a_bundle_does_not_overwrite_what_it_is_made_of(spec, capsys):
    (spec.parent / "k").rename(spec.parent / "k.vmz")
    spec.write_text(spec.read_text().replace('"k"', '"k.vmz"'))
    assert "would be overwritten" in refused(capsys, "bundle", spec, "-o", spec.parent / "k.vmz")


def test_a_bundle_that_cannot_be_written(spec, capsys):
    assert "gone" in refused(capsys, "bundle", spec, "-o", "gone/boot.vmz")


def test_a_file_that_changes_while_it_is_packed(spec, capsys, monkeypatch):
    gather = gathering.gather

    def later(*arguments):
        found = gather(*arguments)
        (spec.parent / "ro.img").write_bytes(bytes(1024))
        return found

    taken = command.taking.take

    def take(*arguments):
        found = taken(*arguments)
        (spec.parent / "ro.img").write_bytes(bytes(1024))
        return found

    monkeypatch.setattr(command.taking, "take", take)
    assert (
        refused(capsys, "bundle", spec)
        == f"{spec.parent}/ro.img: has changed while it was packed: run the command again\n"
    )


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_a_folder_with_something_in_it_is_not_touched(spec, capsys, kind):
    made(capsys, spec)
    place = Path("there")
    match kind:
        case "file":
            place.write_bytes(b"x")
        case "folder":
            place.mkdir()
            (place / "x").write_bytes(b"x")
        case "link":
            place.symlink_to("nowhere")
    assert "there: exists and is not an empty folder" in refused(capsys, "unbundle", "boot.vmz", "-o", place)


def test_an_empty_folder_is_filled(spec, capsys):
    made(capsys, spec)
    Path("there").mkdir()
    unbundled(capsys)


def test_the_folder_is_as_the_umask_says(spec, capsys):
    made(capsys, spec)
    before = os.umask(0o027)
    try:
        unbundled(capsys)
    finally:
        os.umask(before)
    modes = {Path("there").stat().st_mode & 0o777, Path("there/k").stat().st_mode & 0o777}
    assert modes == {0o750, 0o640}
