"""Where flash memory lies, and a message for every file that cannot be one."""

from pathlib import Path

import pytest

from vmspec.devices.isa import Python
from vmspec.devices.storage import Flash
from vmspec.plan.plan import Plan
from vmspec.planner import plan
from vmspec.schema.problems import SpecError
from vmspec.spec.models import VM, Boot, Spec

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
ROM = bytes(8 * KIB - 16) + b"\xea\x5b\xe0\x00\xf0".ljust(16, b"\0")


def made(folder: Path, *devices: Flash | Python, firmware: bytes | None = ROM) -> Spec:
    (folder / "rom").write_bytes(firmware or b"")
    boot = Boot(code=b"\xf4", mode="real") if firmware is None else Boot(firmware=folder / "rom")
    return Spec(vm=VM(name="m", memory=16 * MIB), boot=boot, devices=devices)


def file(folder: Path, name: str, size: int) -> Path:
    (folder / name).write_bytes(b"\xff" * size)
    return folder / name


def places(planned: Plan) -> list[tuple[int, int]]:
    """Start and end of each flash memory."""
    regions = [region for device in planned.devices if device.kind == "flash" for region in device.regions]
    return [(region.start or 0, (region.start or 0) + region.size) for region in regions]


def problems(spec: Spec) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        plan(spec)
    return {problem.path: problem.message for problem in caught.value.problems}


def test_it_ends_where_the_firmware_begins_and_the_next_one_below_it(tmp_path: Path) -> None:
    first, second = file(tmp_path, "a", 528 * KIB), file(tmp_path, "b", 4 * KIB)
    end = 4 * GIB - len(ROM)
    planned = plan(made(tmp_path, Flash(path=first), Flash(path=second)))
    assert places(planned) == [(end - 528 * KIB, end), (end - 532 * KIB, end - 528 * KIB)]
    assert [(named.where, named.writes) for named in planned.names[-2:]] == [
        ("device[0].path", True), ("device[1].path", True),
    ]  # fmt: skip


def test_without_firmware_it_ends_at_4_gib(tmp_path: Path) -> None:
    planned = plan(made(tmp_path, Flash(path=file(tmp_path, "a", 4 * KIB)), firmware=None))
    assert places(planned) == [(4 * GIB - 4 * KIB, 4 * GIB)]


def test_a_file_that_does_not_exist_is_planned_from_its_template(tmp_path: Path) -> None:
    template, path = file(tmp_path, "template", 8 * KIB), tmp_path / "vars"
    planned = plan(made(tmp_path, Flash(path=path, template=template)))
    ((start, end),) = places(planned)
    assert end - start == 8 * KIB
    assert planned.notes == (f"flash0 is kept in {path}, which vmrun will make as a copy of {template}",)
    file(tmp_path, "vars", 4 * KIB)
    planned = plan(made(tmp_path, Flash(path=path, template=template)))
    ((start, end),) = places(planned)
    assert (end - start, planned.notes) == (4 * KIB, (f"flash0 is kept in {path}",))


def test_an_overlay_leaves_the_file(tmp_path: Path) -> None:
    path = file(tmp_path, "vars", 4 * KIB)
    planned = plan(made(tmp_path, Flash(path=path, mode="overlay")))
    assert planned.notes == (f"flash0 begins as a copy of {path}, which ends with the run",)
    assert [named.writes for named in planned.names if named.where == "device[0].path"] == [False]
    planned = plan(made(tmp_path, Flash(tmp_path / "none", path, "overlay")))
    assert planned.notes == (f"flash0 begins as a copy of {path}, which ends with the run",)


WRONG = {
    "nothing": (None, "cannot be opened: No such file"),
    "empty": (b"", "is empty"),
    "odd": (bytes(4097), "has 4097 bytes; flash memory has whole blocks of 4096"),
    "qcow2": (b"QFI\xfb".ljust(4096, b"\0"), "is a qcow2 disk image"),
    "large": (bytes(16 * MIB - 4 * KIB), "firmware and flash memory have 16MiB below 4 GiB together"),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("key", ["path", "template"])
def test_what_cannot_be_flash_memory(tmp_path: Path, kind: str, key: str) -> None:
    data, words = WRONG[kind]
    if data is not None:
        (tmp_path / "file").write_bytes(data)
    device = Flash(path=tmp_path / "file") if key == "path" else Flash(tmp_path / "vars", tmp_path / "file")
    assert words in problems(made(tmp_path, device))[f"device[0].{key}"]


def test_a_device_cannot_have_its_place(tmp_path: Path) -> None:
    device = Python(cls="m:C", mmio=(4 * GIB - len(ROM) - 16, 16))
    found = problems(made(tmp_path, Flash(path=file(tmp_path, "a", 4 * KIB)), device))
    assert "which flash0 has" in found["device[1].mmio"]
