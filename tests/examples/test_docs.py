"""The examples of docs/devices.md run as they are written."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tracer
from runner.devices import Board, StateError, make
from vmspec.plan.plan import PlannedDevice

ROOT = Path(__file__).parents[2]


@pytest.mark.kvm
def test_the_die_of_docs_devices(tmp_path):
    text = (ROOT / "docs" / "devices.md").read_text()
    for language, name in (("toml", "dice.toml"), ("python", "dice.py")):
        (tmp_path / name).write_text(re.search(rf"```{language}\n(# {name}\n.*?)```", text, re.DOTALL)[1])
    command = [sys.executable, "-m", "runner.cli", "dice.toml", "--trace", "dice.arrow"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=True)
    shown = re.search(r"\$ vmrun dice.toml --trace dice.arrow\n(\d+)\n", text)[1]
    assert done.stdout.decode() == shown
    assert f"halt after 0.00 s; {tracer.load(tmp_path / 'dice.arrow').table.num_rows} exits" in text


def test_the_counter_of_docs_devices_is_reset_saved_and_loaded(tmp_path):
    text = (ROOT / "docs" / "devices.md").read_text()
    (tmp_path / "counter.py").write_text(re.search(r"```python\n(# counter.py\n.*?)```", text, re.DOTALL)[1])
    planned = PlannedDevice("python0", "python", {"class": "counter:Counter", "options": {}, "port": [0x500, 1]})
    one, other = (make(planned, Board(tmp_path, ())) for _ in range(2))
    for device in (one, other):
        device.start()
    assert [one.read("port", 0, 1) for _ in range(3)] == [1, 2, 3]
    other.load(one.save())
    one.reset()
    assert (one.read("port", 0, 1), other.read("port", 0, 1)) == (1, 4)
    with pytest.raises(StateError, match="count is 256"):
        one.state_class(count=256)
