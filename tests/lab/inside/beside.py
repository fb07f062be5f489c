"""Runs inside the lab: the small guests of flat.py, then guests with programs of the host beside them, in one process.
The last that is printed are flat.py's lines.

    beside.py OUT

OUT has a folder for each, prepared by tests/lab/beside.py. Each gets what its guests leave, and at the end DONE; the
emulated host may hang at any moment, and another one then does the rest.
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from tests.lab.inside import flat, network, paused, sockets, unpatched, vsock

DONE = "done"
RUNS = {"flat": flat.run, "network": network.run, "sockets": sockets.run, "vsock": vsock.run, "paused": paused.run}


def main() -> None:
    unpatched.keep()
    out = Path(sys.argv[1])
    for name, run in RUNS.items():
        if (out / name / DONE).exists():
            continue
        start = time.monotonic()
        run(out / name)
        (out / name / DONE).touch()
        print(f"{name}: {time.monotonic() - start:.1f} s", flush=True)
    flat.print_lines()
    os._exit(0)  # a thread may still wait for a guest that never called


if __name__ == "__main__":
    main()
