"""What docs/devices.md shows is run as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tracer

pytestmark = pytest.mark.kvm

ROOT = Path(__file__).parents[2]


def test_the_die_of_docs_devices(tmp_path):
    text = (ROOT / "docs" / "devices.md").read_text()
    for language, name in (("toml", "dice.toml"), ("python", "dice.py")):
        (tmp_path / name).write_text(re.search(rf"```{language}\n(# {name}\n.*?)```", text, re.DOTALL)[1])
    command = [sys.executable, "-m", "runner.cli", "dice.toml", "--trace", "dice.arrow"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=True)
    shown = re.search(r"\$ vmrun dice.toml --trace dice.arrow\n(\d+)\n", text)[1]
    assert done.stdout.decode() == shown
    assert f"halt after 0.00 s; {tracer.load(tmp_path / 'dice.arrow').table.num_rows} exits" in text
