"""Flash memory on the host's KVM: the guest reads it from memory and writes it by commands; the file keeps them."""

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vmspec.cli
from runner import HostError, run
from runner.backends.filelock import locked
from runner.devices import DeviceError
from tests.runner.test_firmware import ENTER

pytestmark = pytest.mark.kvm

SIZE = 8192
# Flash memory is below the ROM's page. Each line: what is written to its second block, then the byte that reads there.
STEPS = """
    read                # 0xa5, from the file
    command 0x50
    command 0x70
    read                # the status, cleared
    command 0x10
    command 0x0f
    read                # the status, ready
    command 0xff
    read                # 0x05: only bits were cleared
    command 0x20
    command 0xd0
    command 0xff
    read                # 0xff: erased
    command 0x40
    command 0x3c
    command 0xff
    read
"""
ROM = """
    .code16
ENTER
    .macro command value
    movb $\\value, (%ebx)
    .endm
    .macro read
    mov (%ebx), %al
    out %al, $0xe9
    .endm
    .code32
flat:
    mov $16, %ax
    mov %ax, %ds
    mov $0xffffe000, %ebx
STEPS
    mov $4, %al
    out %al, $0xf4
    .org 0xff0
    .code16
    ljmp $0xf000, $0xf000
    .org 0x1000
"""


@pytest.fixture
def machine(tmp_path: Path, assemble: Callable[..., bytes]) -> Callable[..., Any]:
    """Runs the steps with a flash memory whose table has these lines."""
    (tmp_path / "rom").write_bytes(assemble(ROM.replace("ENTER", ENTER).replace("STEPS", STEPS), origin=0xF000))
    (tmp_path / "vars").write_bytes(b"\xa5" * SIZE)

    def started(lines: str = 'path = "vars"') -> Any:
        (tmp_path / "guest.toml").write_text(f"""
[vm]
name = "flash"
memory = "1MiB"
timeout = "20s"
[boot]
firmware = "rom"
[[device]]
kind = "debug-port"
[[device]]
kind = "debug-exit"
[[device]]
kind = "flash"
{lines}
[expect]
exit = "debug-exit"
status = 9
""")
        return run(tmp_path / "guest.toml")

    return started


READ = b"\xa5\x00\x80\x05\xff\x3c"
KEPT = b"\xa5" * 4096 + b"\x3c" + b"\xff" * 4095


def test_what_the_guest_programs_is_kept(machine: Callable[..., Any], tmp_path: Path) -> None:
    result = machine()
    assert (result.unmet, result.console) == ((), READ)
    assert (tmp_path / "vars").read_bytes() == KEPT


def test_an_overlay_ends_with_the_run(machine: Callable[..., Any], tmp_path: Path) -> None:
    assert machine('path = "vars"\nmode = "overlay"').console == READ
    assert (tmp_path / "vars").read_bytes() == b"\xa5" * SIZE


def test_an_overlay_of_a_template_makes_no_file(machine: Callable[..., Any], tmp_path: Path) -> None:
    assert machine('path = "own"\ntemplate = "vars"\nmode = "overlay"').console == READ
    assert not (tmp_path / "own").exists()
    assert (tmp_path / "vars").read_bytes() == b"\xa5" * SIZE


def test_a_template_is_copied_once(machine: Callable[..., Any], tmp_path: Path) -> None:
    lines = 'path = "own"\ntemplate = "vars"'
    assert machine(lines).console == READ
    assert [(tmp_path / name).read_bytes() for name in ("own", "vars")] == [KEPT, b"\xa5" * SIZE]
    assert machine(lines).console[:1] == b"\x3c"


def test_a_bundle_leaves_the_file_as_it_is(
    machine: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    machine('path = "own"\ntemplate = "vars"')
    assert [vmspec.cli.main([verb, "guest.toml"]) for verb in ("lock", "bundle")] == [0, 0]
    assert run(tmp_path / "guest.vmz").console[:1] == b"\x3c"
    assert (tmp_path / "own").read_bytes() == KEPT


def test_a_file_that_another_uses_is_rejected(machine: Callable[..., Any], tmp_path: Path) -> None:
    with (tmp_path / "vars").open("r+b") as file:
        assert locked(file.fileno(), writes=True) is None
        with pytest.raises((DeviceError, HostError), match=r"device\[2\].path: .*vars is in use by"):
            machine()
        assert fcntl.fcntl(file.fileno(), fcntl.F_GETFD) >= 0
