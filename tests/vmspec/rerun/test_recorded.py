"""The plan of what a trace recorded, from what the trace has of it."""

import hashlib
import shutil
from pathlib import Path

import pytest

from tests.vmspec.bundle.folders import FILES, fill
from tests.vmspec.lock.locks import LOCK
from vmspec import SpecError
from vmspec.bundle.private import PRIVATE
from vmspec.document import Document
from vmspec.lock import images
from vmspec.lock.drift import compare
from vmspec.lock.taking import take
from vmspec.lock.text import dumps
from vmspec.rerun.recorded import Recorded, prepare
from vmspec.schema.tables import write_model
from vmspec.show.dump import toml

TRACE = Path("boot.arrow")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of a run; the current one is empty."""
    for name in ("here", "now", "cache"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path / "now")
    (tmp_path / "now/out").mkdir()
    fill(tmp_path / "here")
    return tmp_path / "here"


def recorded(folder, *overrides):
    """What a trace of the run has, as the recorder writes it."""
    plan = Document.open(folder / "guest.toml", overrides).plan()
    plan = plan.unrecorded()
    lock = take(plan, write_model(LOCK.host)).lock
    paths = {image.name: image.path for image in images.files(plan)}
    paths |= {name: folder / name.partition("/")[2] for name in lock.images if name.endswith(".py")}
    known = {name: {"path": str(paths[name]), "sha256": lock.images[name].sha256} for name in paths}
    return Recorded(TRACE, toml(plan.spec), dumps(lock, "guest.toml"), known)


def again(found, *folders, overrides=(), devices=True):
    notices = []
    prepared = prepare(found, folders, overrides, notices.append, devices=devices)
    return prepared, notices


def drift(prepared):
    now = take(prepared.plan, write_model(LOCK.host)).lock
    return [change.name for change in compare(prepared.lock.lock, now)]


def test_what_was_recorded_is_planned_again(folder):
    prepared, notices = again(recorded(folder))
    assert (drift(prepared), prepared.plan.trace.path) == ([], None)
    assert notices == [f"the guest's writes to {folder / 'rw.img'} are discarded when the run ends"]


def test_images_that_were_moved_are_found_by_their_hashes(folder, tmp_path):
    found = recorded(folder)
    (tmp_path / "there").mkdir()
    for at, name in enumerate(FILES):
        shutil.copy(folder / name, tmp_path / "there" / (Path(name).name if "rw" in name else f"file{at}"))
    shutil.rmtree(folder)
    prepared, _ = again(found, tmp_path / "there")
    assert drift(prepared) == []
    assert prepared.plan.placement("code").path.parent == tmp_path / "there"


def test_images_that_are_not_found_are_all_named(folder):
    found = recorded(folder)
    (folder / "k").unlink()
    (folder / "parts/helper.py").write_bytes(b"VALUE = 2")
    with pytest.raises(SpecError) as caught:
        again(found, folder)
    first, second = caught.value.problems
    sha256 = hashlib.sha256(FILES["k"]).hexdigest()
    where = f"It was {folder / 'k'}; name a folder that has it with --images DIR"
    assert str(first) == f"boot.arrow: images.kernel: was not found: 1 byte, sha256 {sha256}. {where}"
    assert second.path == 'images."python0/parts/helper.py"'
    assert f"It was {folder / 'parts/helper.py'}, which has changed; " in second.message


def test_a_disk_that_the_guest_wrote_to_is_not_written_again(folder):
    device = again(recorded(folder))[0].plan.devices[3]
    assert (device.name, {key: device.options[key] for key in PRIVATE}) == ("virtio-blk1", PRIVATE)
    with pytest.raises(SpecError, match="is a file that runs only read"):
        again(recorded(folder), overrides='device[3].mode="rw"')


def test_a_file_that_stands_in_for_another(folder):
    (folder / "mine").write_bytes(b"\x90\xf4")
    found = recorded(folder)
    (folder / "k").unlink()  # nobody looks for it
    prepared, _ = again(found, overrides=f"boot.kernel={folder / 'mine'}")
    assert drift(prepared) == ["images.kernel"]


def test_a_reference_that_is_gone_is_told(folder, tmp_path):
    (folder / "golden.arrow").write_bytes(b"ARROW1")
    override = 'expect={reference="golden.arrow", differ=["data"]}'
    found = recorded(folder, override)
    trace = "trace.path=again.arrow"
    assert again(found, overrides=trace)[0].plan.expect.reference == folder / "golden.arrow"
    (folder / "golden.arrow").unlink()
    prepared, notices = again(found, overrides=trace)
    assert prepared.plan.expect.reference is None
    assert f"expect.reference: {folder / 'golden.arrow'} was not found, so the run is not compared with it" in notices


def test_a_replay_needs_only_what_is_loaded(folder, tmp_path):
    (folder / "golden.arrow").write_bytes(b"ARROW1")
    (folder / "System.map").write_bytes(b"0 T start\n")
    found = recorded(folder, 'expect={reference="golden.arrow"}', "boot.symbols=System.map")
    (tmp_path / "there").mkdir()
    shutil.copy(folder / "k", tmp_path / "there/kernel")
    shutil.copy(folder / "pmem.img", tmp_path / "there/pmem")
    shutil.rmtree(folder)
    before, notices = again(found, tmp_path / "there", devices=False)
    assert (before.plan.placement("code").path, notices) == (tmp_path / "there/kernel", [])
    assert [device.name for device in before.plan.devices if device.kind == "virtio-blk"]
    (tmp_path / "there/kernel").unlink()
    with pytest.raises(SpecError) as caught:
        again(found, tmp_path / "there", devices=False)
    assert [problem.path for problem in caught.value.problems] == ["images.kernel"]


def test_outputs_go_below_the_current_folder(folder, tmp_path):
    text = (folder / "guest.toml").read_text().replace('path = "sock"', 'path = "/run/vmrun.sock"')
    (folder / "guest.toml").write_text(text)
    prepared, notices = again(recorded(folder))
    outputs = {named.where: named.path for named in prepared.plan.names if named.writes}
    now = tmp_path / "now"
    assert outputs == {"device[0].output": now / "out/log", "device[6].path": now / "vmrun.sock"}
    where = "device[6].path: writes to vmrun.sock in the current folder; the recorded run wrote to /run/vmrun.sock"
    assert notices[0] == where
    assert drift(prepared) == ["spec.device[6].path"]


def test_the_sources_of_devices_are_copied_once(folder, tmp_path):
    prepared, _ = again(recorded(folder))
    assert prepared.plan.classes.parent == tmp_path / "cache/vmrun/sources"
    before = (prepared.plan.classes / "parts/square.py").stat()
    assert (again(recorded(folder))[0].plan.classes / "parts/square.py").stat() == before


@pytest.mark.parametrize("name", ["python0/../../evil.py", "python0//evil.py", "python0/.py/../x.py"])
def test_sources_stay_in_their_folder(folder, tmp_path, name):
    found = recorded(folder)
    old = "python0/parts/helper.py"
    changed = found._replace(lock=found.lock.replace(old, name), images={name: found.images[old], **found.images})
    with pytest.raises(SpecError, match="is not a path below the bundle's folder"):
        again(changed)
    assert not [*tmp_path.rglob("evil.py")]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"spec": "x ="}, "boot.arrow/vmrun.spec:1:"),
        ({"spec": "[vm]\n"}, "boot.arrow/vmrun.spec:1:"),
        ({"lock": "x ="}, "boot.arrow/vmrun.lock:1:"),
        ({"lock": "format = 9\n"}, "boot.arrow/vmrun.lock:1:1: format: is 9"),
        ({"images": {}}, "boot.arrow: images."),
        ({"images": {"python0/parts/helper.py": 7}}, "boot.arrow: images."),
    ],
)
def test_a_trace_that_says_what_cannot_be_is_located(folder, change, place):
    found = recorded(folder)._replace(**change)
    with pytest.raises(SpecError) as caught:
        again(found)
    assert str(caught.value.problems[0]).startswith(place)
