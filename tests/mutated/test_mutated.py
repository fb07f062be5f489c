"""Mutated specs, images, rings, traces and snapshots end in order: without traceback, hang, a gibibyte, or a wrong
status. So do mutated files for each way to boot, which are loaded if they can be."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.mutated.kernels import MAKERS

ROOT = Path(__file__).parents[2]
# VMRUN_MUTATED_FILES raises the number of files of all kinds for a soak run; VMRUN_MUTATED_FIRST begins elsewhere.
FILES = int(os.environ.get("VMRUN_MUTATED_FILES", "300"))
FIRST = int(os.environ.get("VMRUN_MUTATED_FIRST", "0"))
# VMRUN_MUTATIONS is the number of snapshots, and of files for each way to boot.
MUTATIONS = int(os.environ.get("VMRUN_MUTATIONS", "60"))
SHARES = {"specs": 0.325, "images": 0.325, "rings": 0.2, "traces": 0.15}  # by what each costs
PROCESSES = 2
PIECE = 5000  # files of one process
FAILURES_MAX = 20


def use(kind: str, first: int, stop: int, folder: Path) -> list[str]:
    """Failures among the files of these numbers, with what the process that used them said."""
    failures = []
    folder.mkdir()
    while first < stop and len(failures) < FAILURES_MAX:
        command = [sys.executable, "-m", "tests.mutated.worker", kind, str(first), str(stop), str(folder)]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL
        )
        if done.returncode == 0:
            break
        at = int((folder / "at").read_text())
        failures.append(f"{kind} {at}: ended with {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        first = at + 1
    return failures


@pytest.mark.long
@pytest.mark.parametrize("kind", [*SHARES, *MAKERS, "snapshots"])
def test_mutated_files_end_in_order(tmp_path, kind):
    stop = FIRST + (round(FILES * SHARES[kind]) if kind in SHARES else MUTATIONS)
    firsts = range(FIRST, stop, PIECE)
    with ThreadPoolExecutor(PROCESSES) as pool:
        pieces = pool.map(lambda first: use(kind, first, min(first + PIECE, stop), tmp_path / str(first)), firsts)
        failures = [failure for found in pieces for failure in found]
    assert not failures, "\n\n".join(failures)
