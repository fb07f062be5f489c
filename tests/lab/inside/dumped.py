"""Runs inside the lab: a Linux that hangs is paused, and its core file written.

    dumped.py OUT SPEC [OVERRIDE]...

Leaves in OUT the core file (core), and what vmrun says of the vCPUs' registers (registers.json: by vCPU, name, text).
"""

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
import runner

CORE = Path("/run/core")  # in memory: the shared directory is slow
HANGS = b"---[ end Kernel panic"


def main() -> None:
    out, spec, *overrides = sys.argv[1:]
    with runner.start(spec, overrides=overrides, control="hung", record=False) as run:
        while HANGS not in run._session.console.text():
            with suppress(TimeoutError):
                sys.exit(run.result(0.1).console.decode(errors="replace"))
        time.sleep(1)
        with runner.connect("hung") as control:
            control.pause()
            vcpus = control.inspect("vcpus")
            control.dump(CORE)
    registers = {number: vcpu["registers"] for number, vcpu in vcpus.items()}
    Path(out, "registers.json").write_text(json.dumps(registers))
    subprocess.run(["cp", "--sparse=always", CORE, out], check=True)


if __name__ == "__main__":
    main()
