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

ROOT = HERE.parent.parent
TRACE = HERE / "linux.arrow"
VMRUN = (sys.executable, "-m", "runner.cli")
VMTRACE = (sys.executable, "-m", "tracer.cli")
# With hardware virtualization the boot takes about two seconds. Some KVMs interpret what the guest's kernel does: they
# fail on an instruction, or crawl for minutes.
PATIENCE = "20s"
# Exit statuses of vmrun that say so.
HOST, CRASHED, TIMED_OUT = 3, 4, 5
LAB_FAILED = 125  # the lab's
CANNOT = {
    HOST: "this host has no usable KVM",
    CRASHED: "this host's KVM cannot run a Linux guest",
    TIMED_OUT: f"this host's KVM did not boot Linux within {PATIENCE}",
}


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def on_host(spec: Path) -> int:
    """vmrun on this machine; the exit status."""
    say(f"vmrun {spec.relative_to(ROOT)}, on this host's KVM")
    command = [*VMRUN, spec, "--timeout", PATIENCE]
    return subprocess.run(command, check=False, cwd=ROOT, stdin=subprocess.DEVNULL).returncode


def in_lab(spec: Path) -> int:
    """The same in the lab; the trace comes back through a shared directory."""
    say(f"vmrun {spec.relative_to(ROOT)}, in the lab: an emulated host with a real kvm_amd, which is slower")
    with tempfile.TemporaryDirectory() as share:
        # Recorded in the lab's memory: the shared directory is slow.
        script = 'share=$1; shift; "$@" --trace /run/linux.arrow; status=$?; cp /run/linux.arrow "$share"; exit $status'
        lab = [ROOT / "tests" / "lab" / "lab", "--share", share, "--", "sh", "-c", script, "sh", share]
        status = subprocess.run([*lab, *VMRUN, spec], check=False, cwd=ROOT, stdin=subprocess.DEVNULL).returncode
        recorded = Path(share) / TRACE.name
        if recorded.exists():
            TRACE.write_bytes(recorded.read_bytes())
    return status


def main() -> int:
    say("fetching Debian's cloud kernel and making an initrd (the first time only)")
    spec = prepare()
    status = on_host(spec) if os.access("/dev/kvm", os.R_OK | os.W_OK) else HOST
    if status in CANNOT:
        say(CANNOT[status])
        status = in_lab(spec)
        if status in (LAB_FAILED, TIMED_OUT):
            say("QEMU's emulation can stand still while Linux patches itself (tests/lab/README.md); once more")
            status = in_lab(spec)
    if status == 0:
        say(f"vmtrace summary {TRACE.relative_to(ROOT)}")
        status = subprocess.run([*VMTRACE, "summary", TRACE], check=False, cwd=ROOT).returncode
    return status


if __name__ == "__main__":
    sys.exit(main())
