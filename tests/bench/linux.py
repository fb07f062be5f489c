"""Linux to userspace in the lab, beside QEMU's microvm with the same kernel, initrd and memory."""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.figure import Figure

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
RUNS = 3


def measure() -> list[Figure]:
    """Medians of interleaved runs within one lab."""
    for example in ("linux", "repeat"):
        subprocess.run([sys.executable, ROOT / "examples" / example / "prepare.py"], check=True)
    with tempfile.TemporaryDirectory() as share:
        out = Path(share) / "times.json"
        lab = [ROOT / "tests" / "lab" / "lab", "--timeout", "1200s", "--share", share, "--"]
        command = [sys.executable, HERE / "inlab.py", out, str(RUNS)]
        done = subprocess.run([*lab, *command], check=False, stdin=subprocess.DEVNULL, cwd=ROOT)
        if not out.exists():  # else only the events were not counted
            done.check_returncode()
        measured = json.loads(out.read_text())
    medians = {name: statistics.median(values) for name, values in measured["seconds"].items()}
    own = {name: statistics.median(values) for name, values in measured["own"].items()}
    figures = [Figure(f"Linux to userspace in the lab: {name}", value, "s") for name, value in medians.items()]
    ratio = medians["vmrun"] / medians["QEMU microvm"]
    virtual = medians["vmrun, virtual time"] / medians["vmrun, the same with the host's time"]
    without, quiet = medians["vmrun, not recording"], own["vmrun, not recording"]
    return [
        *figures,
        Figure("Linux to userspace: vmrun / QEMU microvm", ratio, "ratio", 1),
        Figure("Linux to userspace: virtual time / the host's time", virtual, "ratio", 1.1),
        Figure("Linux to userspace: recording / not recording", medians["vmrun"] / without, "ratio"),
        Figure(
            "Linux to userspace: recording tracepoints too / not recording",
            medians["vmrun, recording tracepoints too"] / without,
            "ratio",
        ),
        *(
            Figure(f"the guest's own time to userspace: {what} / not recording", own[name] / quiet, "ratio", limit)
            for what, name, limit in (
                ("recording", "vmrun", 1.10),
                ("recording the essential tracepoints too", "vmrun, recording the essential tracepoints too", None),
                ("recording tracepoints too", "vmrun, recording tracepoints too", 1.35),
            )
        ),
        *(
            Figure(f"{event} of a boot in the lab: {name}", count, "")
            for name, counts in measured["events"].items()
            for event, count in counts.items()
        ),
    ]
