"""The main job, shown: Debian's kernel boots from linux.toml, its console here, every exit in linux.arrow.

It runs on this host's KVM where that can run Linux, else in the lab (tests/lab), an emulated host with KVM; it says
which.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from prepare import HERE, prepare

from runner.result import CRASHED, HOST

ROOT = HERE.parent.parent
BIN = Path(sys.executable).parent
TRACE = HERE / "linux.arrow"


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def on_host(spec: Path) -> int:
    """vmrun on this machine."""
    say(f"vmrun {spec.relative_to(ROOT)}, on this host's KVM")
    return subprocess.run([BIN / "vmrun", spec], check=False).returncode


def in_lab(spec: Path) -> int:
    """The same in the lab; the trace comes back through a shared directory."""
    say(f"vmrun {spec.relative_to(ROOT)}, in the lab: an emulated host with a real kvm_amd, which is slower")
    with tempfile.TemporaryDirectory() as share:
        script = '"$1" "$2" --trace /run/linux.arrow; status=$?; cp /run/linux.arrow "$3"; exit $status'
        lab = [ROOT / "tests" / "lab" / "lab", "--share", share, "--", "sh", "-c", script, "sh"]
        status = subprocess.run([*lab, BIN / "vmrun", spec, share], check=False, stdin=subprocess.DEVNULL).returncode
        shared = Path(share) / TRACE.name
        if shared.exists():
            TRACE.write_bytes(shared.read_bytes())
    return status


def main() -> int:
    say("fetching Debian's cloud kernel and making an initrd (the first time only)")
    spec = prepare()
    status = HOST
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        status = on_host(spec)
    if status in (HOST, CRASHED):
        say("this host's KVM cannot run a Linux guest" if status == CRASHED else "this host has no usable KVM")
        status = in_lab(spec)
    if status == 0:
        say(f"vmtrace summary {TRACE.relative_to(ROOT)}")
        status = subprocess.run([BIN / "vmtrace", "summary", TRACE], check=False).returncode
    return status


if __name__ == "__main__":
    sys.exit(main())
