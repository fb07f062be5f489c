"""``python -m tests.kvmunit.inlab TREE OUT``: KVM's unit tests in the lab, with vmrun or with QEMU.

The emulated host may end while a test runs, as QEMU's emulation of SVM has faults of its own. Another stay then goes on
with the next test, and after two such ends the test has failed. OUT gets vmrun.json or qemu.json, as tests.kvmunit
--json writes it; tests that are there already are not run again.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.kvmunit import config
from tests.kvmunit.running import Verdicted, record

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "tests" / "lab"
TRIES = 2  # ends of the emulated host under one test
MOST = 20  # stays


def main() -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.kvmunit.inlab", description="KVM's unit tests in the lab")
    parser.add_argument("tree", type=Path, metavar="TREE", help="the folder in which kvm-unit-tests has been built")
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder of the results")
    parser.add_argument("--qemu", action="store_true", help="run them with QEMU in the place of vmrun")
    parser.add_argument("--timeout", default="120s", metavar="TIME", help="of each test (default: %(default)s)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only these tests")
    options = parser.parse_args()
    tree, out = config.tree(options.tree.resolve()), options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    vmm = "qemu" if options.qemu else "vmrun"
    file, under_way, names = out / f"{vmm}.json", out / "under-way", out / "names"
    ends: Counter[str] = Counter()
    for _ in range(MOST):
        done = {json.loads(line)["name"] for line in file.read_text().splitlines()} if file.exists() else set()
        left = [name for name in (options.only or [test.name for test in tree.tests]) if name not in done]
        if not left:
            return 0
        names.write_text("\n".join(left))
        lab = [LAB / "lab", "--smp", "2", "--memory", "5GiB", "--timeout", "2h", "--share", out, "--"]
        inside = [sys.executable, LAB / "inside" / "unittests.py", file, under_way, names, tree.folder]
        words = [*inside, "--timeout", options.timeout, "--keep", out / vmm, *(["--qemu"] if options.qemu else [])]
        subprocess.run([*map(str, (*lab, *words))], cwd=ROOT, check=False)
        if under_way.exists():
            name = under_way.read_text()
            ends[name] += 1
            under_way.unlink()
            if ends[name] == TRIES:
                ended = Verdicted(name, "fail", 0.0, f"the emulated host ended under it, {TRIES} times")
                with file.open("a") as results:
                    results.write(record(ended, vmm) + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
