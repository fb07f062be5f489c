"""Kept plans: equal to new ones, for unchanged specs only, with anything in their place."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.vmspec.image import images
from vmspec import kept
from vmspec.document import Document, SpecWarning
from vmspec.plan.plan import Plan
from vmspec.schema.problems import SpecError

SPEC = """\
[vm]
name = "k"
[boot]
kernel = "vmlinux"
symbols = "System.map"
[[device]]
kind = "serial"
output = "out"
[trace]
path = "k.arrow"
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("vmspec.host.cache.SETTLED_NS", 0)
    return tmp_path / "cache" / "vmrun" / "plans"


@pytest.fixture
def spec(tmp_path: Path, cache: Path) -> Path:
    """A spec whose plan is kept."""
    (tmp_path / "vmlinux").write_bytes(images.elf())
    (tmp_path / "System.map").write_text("ffffffff81000000 T _text\n")
    (tmp_path / "k.toml").write_text(SPEC)
    start(tmp_path / "k.toml")
    return tmp_path / "k.toml"


def start(spec: Path, overrides: tuple[str, ...] = ()) -> Plan:
    plan, keep = kept.plan(spec, overrides)
    keep()
    return plan


def is_kept(spec: Path, overrides: tuple[str, ...] = ()) -> bool:
    try:
        kept.found(spec.absolute(), overrides)
    except (OSError, ValueError, TypeError, EOFError, SpecError):
        return False
    return True


def place(cache: Path) -> Path:
    (found,) = cache.iterdir()
    return found


def test_a_kept_plan_is_equal_to_a_new_one(spec: Path) -> None:
    assert kept.found(spec, ()) == Document.open(spec).plan() == start(spec)


def test_a_kept_plan_needs_no_attrs(spec: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from vmspec import kept; kept.plan(Path(sys.argv[1]), ());"
        "sys.exit(any(name in sys.modules for name in ('attr', 'tomllib', 'vmspec.document', 'vmspec.image.elf')))"
    )
    subprocess.run([sys.executable, "-c", code, spec], check=True)


def test_overrides_have_plans_of_their_own(spec: Path) -> None:
    assert not is_kept(spec, ("vm.vcpus=2",))
    assert start(spec, ("vm.vcpus=2",)).vm.vcpus == 2
    assert is_kept(spec, ("vm.vcpus=2",))
    assert is_kept(spec)
    assert kept.plan(spec, "vm.vcpus=2")[0].vm.vcpus == 2
    with pytest.raises(TypeError, match="overrides are texts"):
        kept.plan(spec, {"vm.vcpus=2": 1})  # type: ignore[arg-type]


def replace(path: Path, data: bytes) -> None:
    other = path.with_suffix(".other")
    other.write_bytes(data)
    other.replace(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec.write_text(SPEC.replace('"k"', '"l"')),
        lambda spec: (spec.parent / "vmlinux").write_bytes(images.elf(entry=0x1000000)),
        lambda spec: os.utime(spec.parent / "vmlinux", (1, 1)),
        lambda spec: replace(spec.parent / "vmlinux", (spec.parent / "vmlinux").read_bytes()),
        lambda spec: (spec.parent / "System.map").write_text("ffffffff81000000 T _other\n"),
    ],
)
def test_what_it_was_made_from_has_changed(spec: Path, change) -> None:
    change(spec)
    assert not is_kept(spec)
    assert start(spec) == Document.open(spec).plan()
    assert is_kept(spec)


@pytest.mark.parametrize("name", ["vmlinux", "System.map", "k.toml"])
def test_what_it_was_made_from_has_gone(spec: Path, name: str) -> None:
    (spec.parent / name).unlink()
    with pytest.raises(SpecError):
        kept.plan(spec, ())


def test_a_link_made_since_gives_a_file_two_uses(spec: Path) -> None:
    (spec.parent / "out").symlink_to("vmlinux")
    with pytest.raises(SpecError, match=r"out is boot\.kernel too, and would be overwritten"):
        kept.plan(spec, ())


def test_another_release_or_python(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(kept, "HEADER", kept.HEADER.replace(b"vmrun ", b"vmrun 9"))
        assert not is_kept(spec)
    with monkeypatch.context() as patch:
        patch.setattr(kept, "_sources", lambda: 1)
        assert not is_kept(spec)
    assert is_kept(spec)


def test_sources_that_are_written_tell_themselves_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.py").write_text("one")
    monkeypatch.setattr(kept, "__file__", str(tmp_path / "kept.py"))
    sources = kept._sources.__wrapped__  # a process looks once
    before = sources()
    assert sources() == before
    (tmp_path / "inner" / "a.py").write_text("three")
    assert sources() != before


def test_what_is_said_is_said_each_time(spec: Path, cache: Path) -> None:
    place(cache).unlink()
    spec.write_text(SPEC + "kernel = false\n")
    for _ in range(2):
        with pytest.warns(SpecWarning, match="is now called"):
            start(spec)
    (spec.parent / "vmlinux").write_bytes(images.bzimage(b"LZO?" + bytes(60)[:-4] + b"\x10\0\0\0"))
    spec.write_text(SPEC)
    assert start(spec).notes
    assert list(cache.iterdir()) == []


def test_an_image_that_may_be_written_within_one_clock_tick(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmspec.host.cache.SETTLED_NS", 10**12)
    spec.write_text(SPEC.replace('"k"', '"l"'))
    start(spec)
    assert not is_kept(spec)


def test_a_spec_from_a_pipe_is_read_once(spec: Path, cache: Path) -> None:
    place(cache).unlink()
    read, write = os.pipe()
    os.write(write, SPEC.replace('"vmlinux"', f'"{spec.parent}/vmlinux"').encode().replace(b"symbols", b"#"))
    os.close(write)
    try:
        assert start(Path(f"/dev/fd/{read}"), ("trace.path=/tmp/none/t.arrow", "device[0].output=none")).vm.name == "k"
    finally:
        os.close(read)
    assert list(cache.iterdir()) == []


def test_a_fifo_in_the_place_of_a_spec_is_not_waited_for(spec: Path) -> None:
    spec.unlink()
    os.mkfifo(spec)
    assert not is_kept(spec)


# What may be in a place


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_plans_count_for_nothing(spec: Path, cache: Path, data: st.DataObject) -> None:
    path = place(cache)
    whole = path.read_bytes()
    try:
        at = data.draw(st.integers(0, len(whole) - 1))
        damaged = bytearray(whole)
        damaged[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(data.draw(st.sampled_from([bytes(damaged), whole[:at], whole + b"x", b""])))
        assert not is_kept(spec)
        assert start(spec) == Document.open(spec).plan()
        assert path.read_bytes() == whole
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_plan_that_others_can_write(spec: Path, cache: Path, mode: int) -> None:
    place(cache).chmod(mode)
    assert not is_kept(spec)
    start(spec)
    assert is_kept(spec)
    assert place(cache).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("up", [0, 1])
def test_a_directory_that_others_can_write(spec: Path, cache: Path, up: int) -> None:
    [cache, cache.parent][up].chmod(0o777)
    assert not is_kept(spec)
    before = place(cache).stat()
    start(spec)
    assert place(cache).stat() == before, "nothing is written there"


def test_plans_of_another_user(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    assert not is_kept(spec)
    assert start(spec).vm.name == "k"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_something_else_in_the_place(spec: Path, cache: Path, make) -> None:
    path = place(cache)
    path.unlink()
    make(path)
    assert not is_kept(spec)
    assert start(spec).vm.name == "k"


def test_a_cache_that_cannot_be_written(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    assert start(spec).vm.name == "k"


def test_a_relative_cache_is_ignored(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    start(spec)
    assert len(list((tmp_path / "home" / ".cache" / "vmrun" / "plans").iterdir())) == 1
    assert not (tmp_path / "relative").exists()


def test_a_write_that_was_killed_is_in_nobody_s_way(spec: Path, cache: Path) -> None:
    path = place(cache)
    path.unlink()
    new = path.with_suffix(".new")
    new.write_bytes(b"half")
    start(spec)
    assert new.read_bytes() == b"half", "another run may be writing it"
    os.utime(new, (1, 1))
    start(spec)
    start(spec)
    assert is_kept(spec)
    assert place(cache) == path


def test_many_at_once(spec: Path, cache: Path) -> None:
    """Each gets the plan of the spec as it was for it, whoever else is keeping one in the same place."""
    wrong: list[object] = []
    names = [f"vm.name={name}" for name in "abcd"]

    def run(override: str) -> None:
        for _ in range(25):
            if start(spec, (override,)).vm.name != override[-1]:
                wrong.append(override)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept, "PLACES", 1)
        threads = [threading.Thread(target=run, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
    assert {path.name for path in cache.iterdir()} <= {"000", place_of(spec, cache)}


def place_of(spec: Path, cache: Path) -> str:
    return kept._place(spec, ()).name


def test_names_that_are_no_text(tmp_path: Path, cache: Path) -> None:
    spec = tmp_path / "caf\udce9.toml"
    spec.write_text(SPEC.replace("symbols", "#"))
    (tmp_path / "vmlinux").write_bytes(images.elf())
    override = "trace.path=caf\udce9.arrow"
    assert start(spec, (override,)) == kept.found(spec, (override,)) == Document.open(spec, (override,)).plan()
