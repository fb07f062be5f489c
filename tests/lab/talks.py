"""Runs of vmrun in the lab with somebody who reads the console and answers (inside/talk.py), checked from outside."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import tracer
from tests.lab.labruns import HERE, LAB_FAILED, ROOT, STAYS, userspace

PLACE = Path("/var/tmp/talk")  # where inside/talk.py has the images


class Talk(NamedTuple):
    """One run, as inside/talk.py describes it."""

    name: str
    arguments: Sequence[str]
    steps: Sequence[tuple[str, str | None]] = ()
    after: Sequence[str] = ()


class Talked:
    """What one run left."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "trace.arrow"
        self.result = json.loads((directory / "result.json").read_text())
        self.console = (directory / "console").read_text(errors="replace")
        self.userspace = userspace((directory / "console").read_bytes())
        self.log = (directory / "log").read_text()

    @cached_property
    def trace(self) -> tracer.Trace:
        return tracer.load(self.path)

    @cached_property
    def facts(self) -> dict[str, str]:
        """What the guest's init said, by the first word after "disk:"."""
        return dict(re.findall(r"^disk: (\w+):? ?(.*)$", self.userspace, re.MULTILINE))


def stay(out: Path, images: Mapping[str, int | str], runs: Sequence[Talk], timeout: str) -> dict[str, Talked]:
    """All runs, in their order, in one stay in the lab; another if the first fails."""
    jobs = {"images": dict(images), "runs": [run._asdict() for run in runs]}
    (out / "jobs.json").write_text(json.dumps(jobs))
    lab = [HERE / "lab", "--smp", "3", "--memory", "4GiB", "--timeout", timeout]
    for attempt in range(STAYS):
        share = out / str(attempt)
        share.mkdir()
        command = [sys.executable, HERE / "inside" / "talk.py", out / "jobs.json", share]
        done = subprocess.run(
            [*lab, "--share", share, "--", *command], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode != LAB_FAILED:
            break
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    print(done.stdout)
    return {run.name: Talked(share / run.name) for run in runs}


def settings(spec: Path, sets: Sequence[str]) -> list[str]:
    """vmrun's arguments for a spec and what is set of it."""
    return [str(spec), *(word for each in sets for word in ("--set", each))]
