"""Runs inside the lab: Linux, stopped at snapshots and gone on from each, with a disk and with timers.

    snapshots.py OUT CYCLES

OUT/linux.json has the "spec" and the "overrides" of Linux. Leaves in OUT console, what the guest printed in all, and
result.json: "kind", "detail", "cycles", and "seconds" that the guest ran for.
"""

import json
import os
import random
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
import runner
from runner.machine.result import Ending
from runner.snapshot.taking import take
from tests.lab.inside import unpatched

HERE = Path("/run/snapshots")  # in memory: writing to the shared directory is slow, and would be what is measured
WROTE = b"] wrote "
PATIENCE = 300  # seconds


def main() -> None:
    unpatched.keep()
    out, cycles = Path(sys.argv[1]), int(sys.argv[2])
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    linux = json.loads((out / "linux.json").read_text())
    shutil.copy(out / "disk.img", HERE)
    overrides = (*linux["overrides"], f"device[4].path={HERE / 'disk.img'}")
    found = {"cycles": 0, "seconds": 0.0}
    source, sink = os.pipe()
    place = linux["spec"]
    while True:
        snapshot = HERE / f"{found['cycles'] % 2}.snapshot"
        restored = found["cycles"] > 0
        run = runner.start(
            place, restore=restored, overrides=() if restored else overrides, record=False, input=source, notice=print
        )
        ran = time.monotonic()
        machine, console = run._session.machine, run._session.console
        latest = time.monotonic() + PATIENCE
        while WROTE not in console.text() and time.monotonic() < latest:  # memory comes in slowly here
            time.sleep(0.05)
        time.sleep(random.random())
        if found["cycles"] == cycles:
            os.write(sink, b"end\n")
        else:
            with machine.standing() as stands:
                found["seconds"] += time.monotonic() - ran
                if stands:
                    take(machine, snapshot)
                    machine.end(Ending("interrupted"))
        result = run.result(PATIENCE)
        with (HERE / "console").open("ab") as file:
            file.write(result.console)
        if result.kind != "interrupted":
            break
        found["cycles"] += 1
        print(f"cycle {found['cycles']}: {snapshot.stat().st_blocks // 2048} MiB", flush=True)
        place = snapshot
    (HERE / "result.json").write_text(json.dumps(found | {"kind": result.kind, "detail": result.detail}))
    for name in ("console", "result.json"):
        shutil.copy(HERE / name, out)


if __name__ == "__main__":
    main()
