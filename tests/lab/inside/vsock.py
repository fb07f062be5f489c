"""Inside the lab: the example vsock, as its README says, where sockets can be made."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.lab.inside.vmruns import vmrun

HERE = Path("/run/example")
MADE = ("host.txt", "example.console", "example.log", "vsock.arrow", "vsock.requests.arrow")
PATIENCE = 60  # seconds in which host.py ends by itself


def run(out: Path) -> None:
    """OUT/example.console, .log and .status are the guest's, host.txt what host.py said."""
    shutil.rmtree(HERE, ignore_errors=True)
    shutil.copytree(out, HERE, symlinks=True)
    with (HERE / "host.txt").open("wb") as said:
        host = subprocess.Popen([sys.executable, "host.py"], cwd=HERE, stdout=said)
        status = vmrun(["vsock.toml"], HERE, HERE / "example.console", HERE / "example.log")
        try:
            host.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            host.kill()
            host.wait()
    for name in MADE:
        shutil.copy(HERE / name, out)
    (out / "example.status").write_text(f"{status}\n")
