"""Locks as TOML files."""

import errno
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vmspec.lock.locks import HASH, LOCK, locks, with_spec
from vmspec.lock.drift import compare
from vmspec.lock.table import spec_digest
from vmspec.lock.text import LARGEST, LockText, dumps, write
from vmspec.schema.problems import SpecError


@given(locks, st.booleans())
def test_a_lock_reads_back_from_its_text(lock, ascii):
    read = LockText(dumps(lock, "x.toml", ascii=ascii)).lock
    assert compare(lock, read) == ()
    assert dumps(read, "x.toml") == dumps(lock, "x.toml")


@given(st.text())
def test_the_name_of_the_spec_breaks_no_line(name):
    assert LockText(dumps(LOCK, name)).lock == LOCK


def test_the_order_of_keys_does_not_count():
    turned = {name: LOCK.spec[name] for name in reversed(LOCK.spec)}
    assert spec_digest(turned) == spec_digest(LOCK.spec)
    assert spec_digest({**turned, "vm": {}}) != spec_digest(LOCK.spec)


def test_a_file_is_written_whole(tmp_path):
    path = tmp_path / "x.toml.lock"
    write(path, LOCK, "x.toml")
    assert LockText.open(path).lock == LOCK
    with pytest.raises(OSError, match="No such file") as caught:
        write(tmp_path / "no" / "x.toml.lock", LOCK, "x.toml")
    assert caught.value.errno == errno.ENOENT
    assert [file.name for file in tmp_path.iterdir()] == ["x.toml.lock"]


TEXT = dumps(LOCK, "x.toml")


def changed(old, new):
    assert old in TEXT
    return TEXT.replace(old, new)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1:1: format: is missing"),
        ("format", "1:7: is not TOML"),
        ("\0", "1:1: is not TOML"),
        ("a." * 40 + "b = 1", "1:1: is nested too deep"),
        ("format = 2\nmore = 1", "1:1: format: is 2, and this release reads up to 1"),
        ("format = true", "1:10: format: must be a whole number"),
        ("format = -1", "1:10: format: is out of range"),
        (changed('vmrun = "1.2.3"', "vmrun = 3"), "5:9: vmrun: must be a string (here: 3)"),
        (changed('vmrun = "1.2.3"', 'vmrum = "1.2.3"'), "5:1: vmrum: unknown key"),
        (changed("memory = ", "memery = "), "6:1: spec-sha256: is not the hash of the table spec"),
        (changed(LOCK.spec_sha256, "0" * 63), "6:15: spec-sha256: is not a SHA-256"),
        (changed("size = 1234", "size = -1"), "images.kernel.size: is out of range (here: -1)"),
        (changed(f'size = 1234\nsha256 = "{HASH}"', f'size = 1234\nsha256 = "{HASH.upper()}"'), "is not a SHA-256"),
        (changed("[images.kernel]", "[[images.kernel]]"), "images.kernel: must be a table (here: an array)"),
        (changed("KVM_CAP_IRQCHIP = 1", "KVM_CAP_IRQCHIP = 1.5"), "KVM_CAP_IRQCHIP: must be a whole number of 32 bits"),
        (changed("0x00000001 = ", "0x1 = "), "host.must.cpuid.0x1: is not a leaf"),
        (changed("[host.info]", "[host.infos]"), "host.infos: unknown key"),
    ],
)
def test_what_is_wrong_is_located(text, problem):
    with pytest.raises(SpecError) as caught:
        LockText(text)
    assert problem in str(caught.value)


PIECES = st.text(max_size=8) | st.sampled_from(["[[", "{", '"', "0x", "]"])


@given(st.integers(0, len(TEXT)), st.integers(0, 40), PIECES)
def test_any_change_of_a_text_gives_a_lock_or_problems_with_places(at, length, new):
    problems = ()
    try:
        LockText(TEXT[:at] + new + TEXT[at + length :], Path("x.lock"))
    except SpecError as error:
        problems = error.problems
    assert [problem for problem in problems if problem.line is None] == []


def test_every_problem_is_told():
    text = changed("size = 1234", "size = -1").replace("tsc_khz = 2100000", "tsc_khz = 1.5")
    with pytest.raises(SpecError) as caught:
        LockText(text)
    assert [problem.path for problem in caught.value.problems] == ["images.kernel.size", "host.may.tsc_khz"]


def test_a_lock_with_too_many_problems_is_no_lock():
    leaves = "".join(f"x{n} = 1\n" for n in range(500))
    with pytest.raises(SpecError) as caught:
        LockText(TEXT.replace("[host.may]", leaves + "[host.may]"))
    assert 0 < len(caught.value.problems) <= 100


def test_a_file_that_is_no_lock(tmp_path):
    path = tmp_path / "x.toml.lock"
    for make, problem in (
        (lambda: None, "there is no lock; to write it: vmspec lock x.toml"),
        (path.mkdir, "cannot be read: Is a directory"),
        (lambda: (path.rmdir(), path.write_bytes(b"a = '\xff'")), "1:6: is not UTF-8 text"),
        (lambda: path.write_bytes(b"#" * (LARGEST + 1)), "is too large for a lock, more than 16777216 bytes"),
    ):
        make()
        with pytest.raises(SpecError) as caught:
            LockText.open(path)
        assert str(caught.value).startswith(f"{path}:")
        assert problem in str(caught.value)


def test_a_lock_is_readable_as_toml():
    data = tomllib.loads(TEXT)
    assert data["images"]["kernel"] == {"path": "vmlinuz", "size": 1234, "sha256": HASH, "written": False}
    assert data["host"]["must"]["cpuid"]["0x00000007.0"] == "00000000 00000000 00000000 00000008"


def test_a_change_has_the_place_of_what_was():
    text = LockText(TEXT)
    new = with_spec(LOCK, {**LOCK.spec, "vm": {**LOCK.spec["vm"], "memory": "2MiB"}, "boot": {"mode": "real"}})
    told = [text.changed(change) for change in compare(LOCK, new)]
    line = next(n for n, line in enumerate(TEXT.splitlines(), 1) if line.startswith("memory"))
    assert [(problem.path, problem.line, problem.column) for problem in told] == [
        ("spec.vm.memory", line, 10),
        ("spec.boot", TEXT.splitlines().index("[spec]") + 1, 2),
    ]
