"""Many short runs: in one process, and as a campaign on two workers."""

import json
import re
import subprocess
import tempfile
from pathlib import Path

from tests.bench import installed
from tests.bench.figure import Figure

RUNS = 500  # in one process
REPEATED = 1000  # of a campaign

TINY = """
[vm]
name = "tiny"
memory = "1MiB"
timeout = "10s"

[boot]
mode = "real"
code = "e6 80 f4"  # out 0x80, al; hlt

[trace]
path = "tiny.arrow"
"""
CAMPAIGN = """
[campaign]
specs = ["tiny.toml"]
repeat = {runs}
traces = "{traces}"
"""
# Prints the milliseconds of a run, in turn with a trace and without, each twice.
IN_TURN = """
import json, sys, time
from runner import run

def measured(record):
    begin = time.perf_counter()
    for _ in range(int(sys.argv[1])):
        run("tiny.toml", record=record)
    return (time.perf_counter() - begin) / int(sys.argv[1]) * 1000

run("tiny.toml")
print(json.dumps([[measured(record) for record in (True, False)] for _ in range(2)]))
"""


def measure() -> list[Figure]:
    """Milliseconds a run. The limits of a campaign are 40 runs a second with traces, 100 without."""
    vmrun = Path(installed.vmrun())
    python = vmrun.with_name("python")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "tiny.toml").write_text(TINY)
        command = [python, "-c", IN_TURN, str(RUNS)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=directory)
        traced, untraced = (sum(times) / len(times) for times in zip(*json.loads(done.stdout), strict=True))
        return [
            Figure(f"{RUNS} runs in one process, with a trace: one", traced, "ms", 16),
            Figure(f"{RUNS} runs in one process, without a trace: one", untraced, "ms"),
            Figure(f"{REPEATED} runs of a campaign, with traces: one", campaign(vmrun, directory, "all"), "ms", 25),
            Figure(f"{REPEATED} runs of a campaign, without traces: one", campaign(vmrun, directory, "none"), "ms", 10),
        ]


def campaign(vmrun: Path, directory: Path, traces: str) -> float:
    """Milliseconds a run, from the command's own account."""
    (directory / f"{traces}.toml").write_text(CAMPAIGN.format(runs=REPEATED, traces=traces))
    command = [vmrun, "campaign", f"{traces}.toml", "-o", traces]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=directory)
    seconds = re.search(r" runs in ([0-9.]+) s", done.stdout + done.stderr)
    assert seconds is not None
    return float(seconds[1]) / REPEATED * 1000
