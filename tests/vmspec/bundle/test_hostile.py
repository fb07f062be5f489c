"""Bundles that somebody made to do harm, or that were damaged: nothing is left behind, and the message has a place."""

import hashlib
import os
import random
import struct
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.vmspec.bundle.folders import fill, packed, raw, sparse, tree
from tests.vmspec.lock.locks import LOCK
from vmspec.bundle import archive, frame
from vmspec.bundle.headers import END, header, padding
from vmspec.bundle.manifest import BundledFile, Manifest, dumps
from vmspec.cli import main
from vmspec.lock.text import dumps as lock_text

SPEC = b'[vm]\nname = "x"\nmemory = "1MiB"\n[boot]\nkernel = "k"\nmode = "real"\n'
LOCKED = lock_text(LOCK, "x.toml").encode()
FILES = {"x.toml": SPEC, "x.toml.lock": LOCKED, "k": b"\xf4"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, in which nothing but the bundle is; and a file beside it."""
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    monkeypatch.chdir(tmp_path / "in")
    return tmp_path


def declare(contents, **changed):
    """A manifest of files by their contents; ``changed`` are values of it."""
    files = {name: BundledFile(len(data), hashlib.sha256(data).hexdigest()) for name, data in contents.items()}
    return dumps(Manifest(**{"format": 1, "vmrun": "0", "spec": "x.toml", "files": files} | changed)).encode()


def member(name, data):
    return header(name.encode(), len(data)) + data + bytes(padding(len(data)))


def tar(manifest, files, end=END):
    """The archive of a manifest and members."""
    return member(".bundle.toml", manifest) + b"".join(member(name, data) for name, data in files.items()) + end


def refused(capsys, folder):
    """The message for boot.vmz, which leaves nothing behind."""
    before = tree(folder)
    status = main(["unbundle", "boot.vmz", "-o", "there"])
    out, err = capsys.readouterr()
    assert (status, out, tree(folder)) == (2, "", before), err
    assert [path.name for path in Path().iterdir()] == ["boot.vmz"]
    assert err.startswith("boot.vmz"), err
    return err


def test_the_bundle_of_these_tests_is_opened(capsys):
    packed(Path("boot.vmz"), tar(declare(FILES), FILES))
    assert (main(["unbundle", "boot.vmz", "-o", "there"]), capsys.readouterr().err) == (0, "")
    assert tree(Path("there")) == FILES


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../evil", "is not a path below the bundle's folder"),
        ("a/../../evil", "is not a path below the bundle's folder"),
        ("/tmp/evil", "is not a path below the bundle's folder"),
        ("a//b", "is not a path below the bundle's folder"),
        ("./a", "is not a path below the bundle's folder"),
        ("", "is not a path below the bundle's folder"),
        ("a/", "is not a path below the bundle's folder"),
        ("..", "is not a path below the bundle's folder"),
        (".bundle.toml", "is the name of the bundle's own list"),
        ("k/inner", "is the folder of another file"),
        ("a\0b", "is not a name that a file can have"),
        ("\0c3\0a9", "is not how the name of that file is written"),
        ("x" * 256, "is too long"),
        ("d/" * 600 + "x", "is too long"),
    ],
)
def test_names_that_lead_elsewhere(capsys, folder, name, why):
    files = {**FILES, name: b"evil"}
    packed(Path("boot.vmz"), tar(declare(files), files if "\0" not in name else FILES))
    err = refused(capsys, folder)
    assert (why in err, err.startswith("boot.vmz/.bundle.toml:")) == (True, True), err


KINDS = {
    "link": (tarfile.SYMTYPE, {"linkname": "../../secret"}),
    "hard link": (tarfile.LNKTYPE, {"linkname": "/etc/passwd"}),
    "device": (tarfile.CHRTYPE, {"devmajor": 1, "devminor": 3}),
    "block device": (tarfile.BLKTYPE, {}),
    "pipe": (tarfile.FIFOTYPE, {}),
    "folder": (tarfile.DIRTYPE, {}),
    "old file": (tarfile.AREGTYPE, {}),
    "sparse": (tarfile.GNUTYPE_SPARSE, {}),
    "other mode": (tarfile.REGTYPE, {"mode": 0o4755}),
    "other owner": (tarfile.REGTYPE, {"uid": 1000}),
    "other time": (tarfile.REGTYPE, {"mtime": 1}),
    "other name": (tarfile.REGTYPE, {"name": "../secret"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_members_that_are_no_plain_files(capsys, folder, kind):
    type_, changed = KINDS[kind]
    for name in FILES:
        data = b""
        for one, content in FILES.items():
            if one == name:
                info = tarfile.TarInfo(name)
                info.type, info.size = type_, len(content) if type_ == tarfile.REGTYPE else 0
                for key, value in changed.items():
                    setattr(info, key, value)
                data += info.tobuf(tarfile.USTAR_FORMAT if type_ != tarfile.GNUTYPE_SPARSE else tarfile.GNU_FORMAT)
            else:
                data += header(one.encode(), len(content))
            data += content + bytes(padding(len(content)))
        packed(Path("boot.vmz"), member(".bundle.toml", declare(FILES)) + data + END)
        err = refused(capsys, folder)
        assert f"files.{name}" in err.replace('"', "")
        assert "is not in the archive" in err


def test_members_that_are_not_declared_twice_missing_or_in_another_order(capsys, folder):
    start = member(".bundle.toml", declare(FILES))
    one, two, three = (member(name, data) for name, data in FILES.items())
    for data, why in {
        start + one + two + three + member("evil", b"x") + END: "has more files than its list",
        start + one + two + three + three + END: "has more files than its list",
        start + one + two + three + END + b"x": "has more files than its list",
        start + one + two + END: "is not in the archive",
        start + two + one + three + END: "is not in the archive",
        start + one + one + two + three + END: "is not in the archive",
        start + one + two + three: "ends before its last file",
        start + one + two: "ends before its last file",
        start: "ends before its last file",
        start[:600]: "ends before its last file",
        b"": "ends before its last file",
        one + two + three + END: "its first file is not the list of its files",
    }.items():
        packed(Path("boot.vmz"), data)
        assert why in refused(capsys, folder)


def test_a_content_that_is_another(capsys, folder):
    for name in FILES:
        data = {key: bytes(reversed(value)) if key == name else value for key, value in FILES.items()}
        data["k"] = b"\x90" if name == "k" else data["k"]
        packed(Path("boot.vmz"), tar(declare(FILES), data))
        assert "sha256: has the SHA-256 " in refused(capsys, folder)


def test_padding_with_data(capsys, folder):
    data = bytearray(tar(declare(FILES), FILES))
    data[-len(END) - 1] = 1
    packed(Path("boot.vmz"), bytes(data))
    assert "there is data between its files" in refused(capsys, folder)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"spec": "gone.toml"}, "spec: gone.toml is not among the files"),
        ({"reference": "gone.arrow"}, "reference: gone.arrow is not among the files"),
        ({"format": 2}, "format: is 2, and this release reads up to 1"),
    ],
)
def test_a_manifest_that_says_what_is_not_so(capsys, folder, changed, why):
    packed(Path("boot.vmz"), tar(declare(FILES, **changed), FILES))
    assert why in refused(capsys, folder)


@pytest.mark.parametrize(
    "text", [b"\xff", b"x = [", b"", b"format = 1\nfiles = 3\n", b"format = 1\n[files.a]\nsize = -1\n"]
)
def test_a_manifest_that_is_none(capsys, folder, text):
    packed(Path("boot.vmz"), tar(text, FILES))
    refused(capsys, folder)


def test_a_name_that_is_declared_twice(capsys, folder):
    text = declare(FILES) + f'[files.k]\nsize = 1\nsha256 = "{hashlib.sha256(b"x").hexdigest()}"\n'.encode()
    packed(Path("boot.vmz"), tar(text, FILES))
    assert "boot.vmz/.bundle.toml:" in refused(capsys, folder)


def test_sizes_that_no_bundle_has(capsys, folder):
    huge = hashlib.sha256(b"huge").hexdigest()
    for file, why in (
        (BundledFile(1 << 62, huge), "would unpack to 4,611,686,018,427,"),
        (BundledFile(1 << 62, huge, 512), "holes included; 4,398,046,511,104 is the most"),
        (BundledFile((1 << 30) + (1 << 29), huge), "is the most for one of its size"),
        (BundledFile(1, hashlib.sha256(b"\xf4").hexdigest(), 512), "has the hash of another file, and another size"),
    ):
        table = {name: BundledFile(len(data), hashlib.sha256(data).hexdigest()) for name, data in FILES.items()}
        packed(Path("boot.vmz"), tar(declare({}, files={**table, "evil": file}), FILES))
        assert why in refused(capsys, folder)


def test_a_bundle_that_the_disk_has_no_room_for(capsys, folder, monkeypatch):
    monkeypatch.setattr(archive, "_free", lambda folder: 10)
    packed(Path("boot.vmz"), tar(declare(FILES), FILES))
    assert "and . has 10 free" in refused(capsys, folder)


def test_headers_that_are_huge(capsys, folder):
    for data in (
        header(b".bundle.toml", 1 << 33) + bytes(512),
        header(b".bundle.toml", (16 << 20) + 1),
        header(b"././@PaxHeader", 1 << 30),
        header(b"x" * 70_000, 1),
        bytes(1 << 20),
    ):
        packed(Path("boot.vmz"), data)
        refused(capsys, folder)


def test_a_bomb_is_not_decompressed(capsys, folder):
    """As much again as 100,000 bytes can be; a part of it is read, to see that it is no end of the archive."""
    start = tar(declare(FILES), FILES, end=b"")
    raw_block = ((len(start) << 3) | frame.RAW << 1).to_bytes(3, "little") + start
    zeros = ((128 << 10 << 3) | frame.RLE << 1).to_bytes(3, "little") + b"\1"
    last = ((1 << 3) | frame.RAW << 1 | 1).to_bytes(3, "little") + b"x"
    Path("boot.vmz").write_bytes(frame.MAGIC + bytes([0, 7 << 3]) + raw_block + 25_000 * zeros + last)
    assert "has more files than its list" in refused(capsys, folder)


def test_a_window_that_needs_much_memory(capsys, folder):
    descriptor, window = 0, (21 << 3)  # 1 << 31 bytes
    Path("boot.vmz").write_bytes(frame.MAGIC + struct.pack("BB", descriptor, window) + b"\1\0\0")
    assert "needs 2,147,483,648 bytes of memory" in refused(capsys, folder)


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"ARROW1\0\0", SPEC, b"\x1f\x8b\x08", frame.MAGIC, frame.MAGIC + b"\xff" * 40, bytes(4096)],
    ids=["empty", "byte", "arrow", "spec", "gzip", "magic", "header", "zeros"],
)
def test_files_of_another_kind(capsys, folder, data):
    Path("boot.vmz").write_bytes(data)
    refused(capsys, folder)


def test_what_is_no_file(capsys, folder):
    for make in (lambda: Path("boot.vmz").mkdir(), lambda: os.mkfifo("boot.vmz"), lambda: None):
        make()
        assert main(["unbundle", "boot.vmz", "-o", "there"]) == 2
        assert capsys.readouterr().err.startswith("boot.vmz: ")
        assert not Path("there").exists()
        if Path("boot.vmz").is_dir():
            Path("boot.vmz").rmdir()
        else:
            Path("boot.vmz").unlink(missing_ok=True)


def test_a_bundle_cut_at_any_byte(capsys, folder):
    whole = packed(Path("boot.vmz"), tar(declare(FILES), FILES)).read_bytes()
    for size in [*range(0, len(whole) - 16, 97), *range(len(whole) - 16, len(whole))]:
        Path("boot.vmz").write_bytes(whole[:size])
        refused(capsys, folder)
    for more in (b"x", whole, b"\x50\x2a\x4d\x18\0\0\0\0"):
        Path("boot.vmz").write_bytes(whole + more)
        assert f"bytes after its end, at byte {len(whole):,}" in refused(capsys, folder)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b'kernel = "k"', b'kernel = "/etc/passwd"', "boot.kernel: leads out of the bundle"),
        (b'kernel = "k"', b'kernel = "../in/boot.vmz"', "boot.kernel: leads out of the bundle"),
        (b'kernel = "k"', b'kernel = "gone"', "boot.kernel: the bundle has no file gone"),
        (b'kernel = "k"', b"kernel = 3", "must be a string"),
        (b"[boot]", b'[trace]\npath = "/tmp/evil.arrow"\n[boot]', "trace.path: leads out of the bundle"),
        (b"[boot]", b'[[device]]\nkind = "serial"\noutput = "../evil"\n[boot]', "device[0].output: leads out"),
        (b"[boot]", b'[[device]]\nkind = "virtio-blk"\npath = "mine.img"\n[boot]', "has no file mine.img"),
        (b"[boot]", b'[[device]]\nkind = "virtio-fs"\npath = "."\ntag = "x"\n[boot]', "device[0].path: leads out"),
        (b"[boot]", b'[[device]]\nkind = "python"\nclass = "os:x"\nport = [1, 1]\n[boot]', "has no file os.py"),
    ],
)
def test_a_spec_that_reads_or_writes_elsewhere(capsys, folder, old, new, why):
    assert old in SPEC
    files = {**FILES, "x.toml": SPEC.replace(old, new)}
    packed(Path("boot.vmz"), tar(declare(files), files))
    err = refused(capsys, folder)
    assert (why in err, err.startswith("boot.vmz/x.toml:")) == (True, True), err


@pytest.mark.parametrize("name", ["x.toml", "x.toml.lock"])
@pytest.mark.parametrize("data", [b"\xff", b"x =", b" " * (17 << 20)], ids=["bytes", "syntax", "size"])
def test_a_spec_or_a_lock_that_is_none(capsys, folder, name, data):
    files = {**FILES, name: data}
    packed(Path("boot.vmz"), tar(declare(files), files))
    assert f"boot.vmz/{name}" in refused(capsys, folder)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The archive of a real bundle, with a sparse disk in it."""
    folder = tmp_path_factory.mktemp("real")
    spec = fill(folder)
    sparse(folder / "ro.img", 2 << 20, {1 << 19: b"data"})
    return spec


@pytest.mark.long
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(st.randoms(use_true_random=False))
def test_mutated_archives_are_opened_whole_or_not_at_all(folder, capsys, real, mutations):
    """Bytes of the tar are changed, and it is compressed again, so that no checksum of zstd is in the way."""
    if not (folder / "real.vmz").exists():
        assert main(["bundle", str(real), "-o", str(folder / "real.vmz")]) == 0
    data = bytearray(raw(folder / "real.vmz"))
    for _ in range(mutations.randint(1, 3)):
        if data:  # nothing may be left
            change(data, mutations)
    packed(Path("boot.vmz"), bytes(data))
    capsys.readouterr()
    before = tree(folder)
    if main(["unbundle", "boot.vmz", "-o", "there"]) == 0:
        for path in sorted(Path("there").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        Path("there").rmdir()
    else:
        assert capsys.readouterr().err.startswith("boot.vmz")
    assert (tree(folder), [path.name for path in Path().iterdir()]) == (before, ["boot.vmz"])


def change(data, mutations: random.Random):
    at = mutations.randrange(min(len(data), 12_000))
    match mutations.randrange(6):
        case 0:
            data[at] ^= 1 << mutations.randrange(8)
        case 1:
            data[at : at + 512] = b""
        case 2:
            data[at:at] = data[at - at % 512 : at - at % 512 + 512]
        case 3:
            at -= at % 512
            data[at : at + 12] = b"../" * 4
        case 4:
            data[at : at + 11] = b"7" * 11
        case 5:
            del data[at:]
