"""Inside the lab: Linux, paused and resumed some times while it says what time it has; and a guest that counts by its
TSC, on a host whose KVM takes the TSC's offset."""

import json
import shutil
import time
from pathlib import Path

import runner
from tests.guests import tsc

HERE = Path("/run/paused")  # in memory: writing to the shared directory is slow, and would be what is measured
PAUSES, LENGTH = 5, 1.2  # seconds: more than in which KVM takes writes of the TSC for attempts to synchronise vCPUs
FIRST = b"tick 0 1 "


def run(out: Path) -> None:
    """OUT/linux.json has the "spec" and the "overrides" of Linux, OUT/tsc.toml is the spec of the other guest. Leaves
    in OUT Linux's trace and console, tsc.json (what :func:`tests.guests.tsc.of_a_pause` returns), and result.json:
    "kind", "status", and "offsets", those of the vCPUs' TSCs after each resume."""
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    with runner.start(out / "tsc.toml", record=False) as guest:
        (out / "tsc.json").write_text(json.dumps(tsc.of_a_pause(guest)))
    linux = json.loads((out / "linux.json").read_text())
    offsets = []
    with runner.start(linux["spec"], overrides=(f"trace.path={HERE / 'trace.arrow'}", *linux["overrides"])) as guest:
        machine, console = guest._session.machine, guest._session.console
        while FIRST not in console.text():
            time.sleep(0.05)
        for number in range(PAUSES):
            if not guest.pause():
                break
            time.sleep(LENGTH)
            guest.resume()
            time.sleep(0.1 * number)
            offsets.append([vcpu.tsc_offset() for vcpu in machine.vcpus])
        result = guest.result(300)
    (HERE / "console").write_bytes(result.console)
    said = {"kind": result.kind, "status": result.status, "detail": result.detail, "offsets": offsets}
    (HERE / "result.json").write_text(json.dumps(said))
    shutil.copytree(HERE, out, dirs_exist_ok=True)
