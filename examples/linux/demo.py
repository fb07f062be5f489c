"""`make demo`: boot Debian's kernel from linux.toml, print its console, and record every exit in linux.arrow.

It uses this host's KVM if that can run Linux, otherwise the lab (tests/lab), an emulated host with KVM. It prints which
one it uses.
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
# With hardware virtualization the boot takes about two seconds. Some KVMs interpret the guest's kernel: they fail on an
# instruction or need minutes.
PATIENCE = "20s"
HOST, CRASHED, TIMED_OUT = 3, 4, 5  # exit statuses of vmrun
LAB_FAILED = 125  # an exit status of the lab
# What each status says about this host.
CANNOT = {
    HOST: "this host has no usable KVM",
    CRASHED: "this host's KVM cannot run a Linux guest",
    TIMED_OUT: f"this host's KVM did not boot Linux within {PATIENCE}",
}


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def on_host(spec: Path) -> int:
    """Run vmrun on this machine and return its exit status."""
    say(f"vmrun {spec.relative_to(ROOT)}, on this host's KVM")
    command = [*VMRUN, spec, "--timeout", PATIENCE]
    return subprocess.run(command, check=False, cwd=ROOT, stdin=subprocess.DEVNULL).returncode


def in_lab(spec: Path) -> int:
    """Run vmrun in the lab and return its exit status. The trace comes back through a shared directory."""
    say(f"vmrun {spec.relative_to(ROOT)}, in the lab: an emulated host with a real kvm_amd, which is slower")
    with tempfile.TemporaryDirectory() as share:
        # The lab records into its memory, because the shared directory is slow.
        script = 'share=$1; shift; "$@" --trace /run/linux.arrow; status=$?; cp /run/linux.arrow "$share"; exit $status'
        lab = [ROOT / "tests" / "lab" / "lab", "--share", share, "--", "sh", "-c", script, "sh", share]
        status = subprocess.run([*lab, *VMRUN, spec], check=False, cwd=ROOT, stdin=subprocess.DEVNULL).returncode
        recorded = Path(share) / TRACE.name
        if recorded.exists():
            TRACE.write_bytes(recorded.read_bytes())
    return status


def main() -> int:
    say("fetching Debian's cloud kernel (the first time only) and building an initrd")
    spec = prepare()
    status = on_host(spec) if os.access("/dev/kvm", os.R_OK | os.W_OK) else HOST
    if status in CANNOT:
        say(CANNOT[status])
        status = in_lab(spec)
        if status in (LAB_FAILED, TIMED_OUT):
            say("QEMU's emulation can stop while Linux patches its code (tests/lab/README.md); trying once more")
            status = in_lab(spec)
    if status == 0:
        say(f"vmtrace summary {TRACE.relative_to(ROOT)}")
        status = subprocess.run([*VMTRACE, "summary", TRACE], check=False, cwd=ROOT).returncode
    return status


if __name__ == "__main__":
    sys.exit(main())
