"""Runs inside the lab: Linux, paused and resumed some times while it says what time it has.

    paused.py OUT SPEC [OVERRIDE]...

Leaves in OUT the trace, the console, and result.json: "kind", "status", and "offsets", those of the vCPUs' TSCs after
each resume.
"""

import json
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
import runner

HERE = Path("/run/paused")  # in memory: writing to the shared directory is slow, and would be what is measured
PAUSES, LENGTH = 5, 1.2  # seconds: more than in which KVM takes writes of the TSC for attempts to synchronise vCPUs
FIRST = b"tick 0 1 "


def main() -> None:
    out, spec, *overrides = sys.argv[1:]
    HERE.mkdir()
    offsets = []
    with runner.start(spec, overrides=(f"trace.path={HERE / 'trace.arrow'}", *overrides)) as run:
        machine, console = run._session.machine, run._session.console
        while FIRST not in console.text():
            time.sleep(0.05)
        for number in range(PAUSES):
            if not run.pause():
                break
            time.sleep(LENGTH)
            run.resume()
            time.sleep(0.1 * number)
            offsets.append([vcpu.tsc_offset() for vcpu in machine.vcpus])
        result = run.result(300)
    (HERE / "console").write_bytes(result.console)
    said = {"kind": result.kind, "status": result.status, "detail": result.detail, "offsets": offsets}
    (HERE / "result.json").write_text(json.dumps(said))
    shutil.copytree(HERE, out, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
