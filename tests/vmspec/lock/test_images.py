"""The names of images in locks."""

import pytest

from vmspec.devices.storage import Flash
from vmspec.lock import images
from vmspec.planner import plan
from vmspec.spec.models import VM, Boot, FirmwareFile, Spec


@pytest.mark.parametrize("key", ["modules", "files"])
def test_a_file_of_an_array_is_named_by_its_place(key):
    assert images.image_name(("boot", key, 2, "path"), ()) == f"{key}[2]"


def test_a_lock_of_a_machine_with_firmware(tmp_path):
    (tmp_path / "rom").write_bytes(bytes(4080) + b"\xea".ljust(16, b"\0"))
    (tmp_path / "own").write_bytes(b"x")
    boot = Boot(firmware=tmp_path / "rom", files=(FirmwareFile("opt/a", tmp_path / "own"),))
    made = plan(Spec(vm=VM(name="m"), boot=boot))
    assert {image.name for image in images.files(made)} == {"firmware", "files[0]"}
    assert images.resolved(made)["boot"]["files"] == [{"name": "opt/a"}]


def test_a_lock_has_flash_memory_that_the_run_writes_to(tmp_path):
    for name in ("vars", "template"):
        (tmp_path / name).write_bytes(bytes(4096))
    flash = Flash(path=tmp_path / "vars", template=tmp_path / "template")
    made = plan(Spec(vm=VM(name="m"), boot=Boot(code=b"\xf4", mode="real"), devices=(flash,)))
    found = {image.name: image.written for image in images.files(made)}
    assert found == {"flash0/path": True, "flash0/template": False}
    assert images.resolved(made)["device"] == [{"kind": "flash", "mode": "rw"}]
