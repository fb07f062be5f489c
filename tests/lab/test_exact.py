"""Debian's kernels with the device tsc, in the lab: every boot has the same registers and memory too."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.lab.labruns import repeat_example, stayed

pytestmark = [pytest.mark.lab, pytest.mark.soak]

RUNS = int(os.environ.get("VMRUN_LAB_EXACT", "10"))
VMRUN = Path(sys.executable).with_name("vmrun")
SCRIPT = """cd "$0"
"$1" exact.toml --verify "$2" --every 20000 --json >/run/verdict.json 2>/run/said
echo $? >/run/status
cp /run/verdict.json /run/said /run/status .
"""


@pytest.fixture(scope="module", params=["6.1-cloud", "6.12-cloud"])
def folder(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("exact")
    repeat_example(out, request.param, "exact")
    stayed("--timeout", f"{5 + 7 * RUNS}m", "--share", out, "--", "sh", "-c", SCRIPT, out, VMRUN, str(RUNS))
    return out


def test_all_boots_have_the_same_registers_and_memory(folder):
    said = (folder / "said").read_text()
    assert (folder / "status").read_text() == "0\n", said
    verdict = json.loads((folder / "verdict.json").read_text())
    assert (verdict["level"], verdict["same"], verdict["kind"]) == ("exact", RUNS, "reset")
    assert verdict["exits"] > 40_000
    assert verdict["points"] == verdict["exits"] // 20_000
