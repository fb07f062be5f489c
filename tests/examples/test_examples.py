"""Every example does what its README says."""

import shutil
import subprocess
from pathlib import Path

import pytest

import tracer

EXAMPLES = Path(__file__).parents[2] / "examples"
OTHERS = {"disk", "linux", "network", "repeat", "share", "vsock", "pandas", "notebook"}  # need a kernel; run in the lab

RUN = [
    # folder, spec, console, end, status, the trace's devices
    ("hello", "hello.toml", b"4\n", "halt", 0, {"serial0", "-"}),
    ("modes", "modes.toml", b"RPL\n", "halt", 0, {"debug-port0", "-"}),
    ("modes", "protected.toml", b"1", "halt", 0, None),
    ("modes", "long.toml", b"1", "halt", 0, None),
    ("mmio", "mmio.toml", b"8", "halt", 0, {"python0", "-"}),
    ("debug-exit", "debug-exit.toml", b"", "debug-exit", 33, None),
    ("virtio-python", "virtio-python.toml", b"5143", "halt", 0, {"virtio-python0", "debug-port0", "-"}),
    ("own-device", "own-device.toml", b"9", "halt", 0, {"python0", "debug-port0", "-"}),
]


@pytest.fixture
def copy(tmp_path):
    """A copy of an example's folder, made ready as its README says."""

    def copied(folder):
        # What an earlier run or make left beside the example is not part of it.
        shutil.copytree(
            EXAMPLES / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.arrow*", "*.bin", "*.ring")
        )
        if (tmp_path / folder / "Makefile").exists():
            subprocess.run(["make", "-s", "-C", tmp_path / folder], check=True)
        return tmp_path / folder

    return copied


@pytest.mark.kvm
@pytest.mark.parametrize("example", RUN, ids=[spec for _, spec, *_ in RUN])
def test_example(copy, example):
    from runner.session.session import run

    folder, spec, console, end, status, devices = example
    result = run(copy(folder) / spec)
    assert (result.console, result.kind, result.status) == (console, end, status)
    named = {row["device"] for row in tracer.load(result.trace).table.to_pylist()} if result.trace else None
    assert named == devices


@pytest.mark.kvm
def test_another_number_makes_hello_print_another_digit(copy):
    from runner.session.session import run

    result = run(copy("hello") / "hello.toml", overrides=("boot.registers.rbx=5",))
    assert (result.console, result.status) == (b"7\n", 1)


@pytest.mark.kvm
def test_mmio_tells_claimed_from_unclaimed(copy):
    from runner.session.session import run

    rows = tracer.load(run(copy("mmio") / "mmio.toml").trace).table.to_pylist()
    assert [(row["device"], row["data"]) for row in rows if row["addr"] in (0xD0000020, 0xE0000000)] == [
        ("python0", 0xFFFFFFFF),
        ("-", 0xFFFFFFFF),
    ]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/*.toml")), ids=lambda path: path.name)
def test_every_example_is_a_good_spec(path):
    from vmspec import load

    assert load(path).vm.name


def test_every_example_is_run():
    folders = {path.name for path in EXAMPLES.iterdir() if any(path.iterdir())}
    assert folders - OTHERS == {folder for folder, *_ in RUN}


@pytest.mark.parametrize("folder", sorted(path.name for path in EXAMPLES.iterdir() if any(path.iterdir())))
def test_every_example_has_a_readme(folder):
    assert (EXAMPLES / folder / "README.md").read_text().startswith(f"# {folder}\n")
