import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runner.boot import Images, State, load
from runner.memory import GuestMemory
from tests.runner.boot import plans
from tests.vmspec.image import images
from vmspec import layout
from vmspec.image import ImageError
from vmspec.plan.plan import Patch, Plan
from vmspec.planner import plan
from vmspec.spec.models import VM, Boot, Spec


@contextmanager
def loaded(planned: Plan) -> Iterator[tuple[GuestMemory, State]]:
    memory, images_ = GuestMemory(planned.slots), Images(planned.files)
    try:
        yield memory, load(planned, memory, images_)
    finally:
        memory.close()
        images_.close()


def number(memory: GuestMemory, address: int, size: int) -> int:
    return int.from_bytes(memory.read(address, size), "little")


@pytest.mark.parametrize("mode", ["real", "protected", "long"])
def test_flat_code_is_at_its_load_address(mode: str) -> None:
    with loaded(plans.flat(mode, b"\xba\xf8\x03\xf4", load=0x3000, entry=0x3003)) as (memory, state):
        assert memory.read(0x3000, 4) == b"\xba\xf8\x03\xf4"
        assert state.registers["rip"] == 0x3003


def test_flat_code_from_a_file_with_a_hole(tmp_path: Path) -> None:
    with (tmp_path / "code").open("wb") as file:
        file.write(b"start")
        file.seek(1 << 17)
        file.write(b"end")
        file.truncate(1 << 18)
    planned = plan(Spec(vm=VM(name="f"), boot=Boot(kernel=tmp_path / "code", mode="protected", load=0x1000)))
    with loaded(planned) as (memory, _):
        assert memory.read(0x1000, 1 << 18) == (tmp_path / "code").read_bytes()


def test_bzimage_protected_mode_part(tmp_path: Path) -> None:
    with loaded(plans.linux(tmp_path, plans.bzimage())) as (memory, _):
        part = plans.bzimage()[images.SETUP_SIZE :]
        assert memory.read(0x1000000, len(part)) == part


def test_elf_segments(tmp_path: Path) -> None:
    image = images.elf((0x1000000, 0, b"text", 0x1000), (0x1200000, 0x200000, b"data", 0x2000))
    with loaded(plans.linux(tmp_path, image)) as (memory, state):
        assert memory.read(0x1000000, 6) == b"text\0\0"
        assert memory.read(0x1200000, 6) == b"data\0\0"
        assert (state.registers["rip"], state.registers["rsi"]) == (0x1000000, layout.BOOT_PARAMS)


def test_initrd_and_command_line_are_where_boot_params_says(tmp_path: Path) -> None:
    with loaded(plans.linux(tmp_path, plans.bzimage())) as (memory, _):
        at, size = (number(memory, layout.BOOT_PARAMS + offset, 4) for offset in (0x218, 0x21C))
        assert memory.read(at, size) == (tmp_path / "initrd").read_bytes()
        assert memory.read(number(memory, layout.BOOT_PARAMS + 0x228, 4), 14) == b"console=ttyS0\0"


def test_file_that_became_shorter(tmp_path: Path) -> None:
    planned = plans.linux(tmp_path, plans.bzimage())
    memory, opened = GuestMemory(planned.slots), Images(planned.files)
    os.truncate(tmp_path / "initrd", 100)
    with pytest.raises(ImageError, match="shorter"):
        load(planned, memory, opened)
    opened.close()


def test_setup_header_is_the_images_own(tmp_path: Path) -> None:
    with loaded(plans.linux(tmp_path, images.bzimage(bytes(600), init_size=0x812345))) as (memory, _):
        page = memory.read(layout.BOOT_PARAMS, 4096)
    image = images.bzimage(bytes(600), init_size=0x812345)
    assert page[0x1F1:0x1FA] == image[0x1F1:0x1FA]
    assert page[0x22C:0x26C] == image[0x22C:0x26C]
    assert not any(page[0x26C:0x2D0])


def test_loaders_fields(tmp_path: Path) -> None:
    with loaded(plans.linux(tmp_path, plans.bzimage())) as (memory, _):
        page = layout.BOOT_PARAMS
        assert number(memory, page + 0x210, 1) == 0xFF
        assert number(memory, page + 0x214, 4) == 0x1000000
        assert number(memory, page + 0x1FA, 2) == 0xFFFF
        assert number(memory, page + 0x070, 8) == layout.ACPI


def test_a_32_bit_start_says_where_it_starts(tmp_path: Path) -> None:
    """Not where the image's own header has it: the decompressor reads its destination there."""
    with loaded(plans.linux(tmp_path, images.bzimage(xloadflags=0))) as (memory, _):
        assert number(memory, layout.BOOT_PARAMS + 0x214, 4) == 0x1000000


def test_elf_kernel_gets_a_header(tmp_path: Path) -> None:
    with loaded(plans.linux(tmp_path, images.elf())) as (memory, _):
        assert memory.read(layout.BOOT_PARAMS + 0x1FE, 2) == b"\x55\xaa"
        assert memory.read(layout.BOOT_PARAMS + 0x202, 6) == b"HdrS\x0f\x02"


def test_memory_map(tmp_path: Path) -> None:
    planned = plans.linux(tmp_path, plans.bzimage(), memory=(3 << 30) + (1 << 20))
    with loaded(planned) as (memory, _):
        count = number(memory, layout.BOOT_PARAMS + 0x1E8, 1)
        table = memory.read(layout.BOOT_PARAMS + 0x2D0, 20 * count)
    assert list(struct.iter_unpack("<QQI", table)) == [(e.start, e.size, e.type) for e in planned.e820]


def test_without_acpi_there_is_no_root_pointer(tmp_path: Path) -> None:
    with loaded(plans.linux(tmp_path, plans.bzimage(), devices=())) as (memory, _):
        assert number(memory, layout.BOOT_PARAMS + 0x070, 8) == 0
        assert memory.read(layout.ACPI, 8) == bytes(8)


def test_bios_data_area_points_to_the_ebda(tmp_path: Path) -> None:
    with loaded(plans.linux(tmp_path, plans.bzimage())) as (memory, _):
        assert (number(memory, 0x40E, 2) << 4, number(memory, 0x413, 2) << 10) == (layout.EBDA, layout.EBDA)


def test_a_seed_for_linux_is_in_its_setup_data(tmp_path: Path) -> None:
    """As arch/x86/kernel/setup.c, parse_setup_data reads it; the same seed gives the same bytes."""
    (tmp_path / "k").write_bytes(images.bzimage())
    found = []
    for seed in (7, 7, 8):
        machine = VM(name="linux", time="virtual", seed=seed)
        planned = plan(Spec(vm=machine, boot=Boot(kernel=tmp_path / "k", unpack=False)))
        with loaded(planned) as (memory, _):
            at = number(memory, layout.BOOT_PARAMS + 0x250, 8)
            following, kind, size = struct.unpack("<QII", memory.read(at, 16))
            found.append(memory.read(at + 16, size))
        assert (at, following, kind, size) == (layout.RNG_SEED, 0, 9, 32)
    assert found[0] == found[1] != found[2]


def test_instructions_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_bytes(images.elf((0x1000000, 0x1000000, b"\x90\x0f\x31\xc3", 4)))
    planned = plan(Spec(vm=VM(name="f"), boot=Boot(kernel=tmp_path / "vmlinux")))
    with loaded(planned._replace(patches=(Patch(0x1000001, b"\x0f\x31", b"\xe4\xe7"),))) as (memory, _):
        assert memory.read(0x1000000, 4) == b"\x90\xe4\xe7\xc3"
    other = planned._replace(patches=(Patch(0x1000000, b"\x0f\x31", b"\xe4\xe7"),))
    with pytest.raises(ImageError, match="other code at 0x1000000 than when the plan was made"), loaded(other):
        pass
