"""Runs inside the lab: Linux that is copied while it runs, by runner.fork.

    generation.py OUT COPIES

OUT/linux.json has the "spec" and the "overrides" of Linux. Leaves in OUT copies.json: "seconds" that the copies took to
make, and "texts", what each has printed.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
import runner
from tests.lab.inside import unpatched

RANDOM = b"] random "
PATIENCE = 300  # seconds


def shown(run: runner.Run, count: int) -> bytes:
    """What a guest has printed, once that has so many random numbers."""
    console, latest = run._session.console, time.monotonic() + PATIENCE
    while console.text().count(RANDOM) < count and time.monotonic() < latest:
        time.sleep(0.05)
    return bytes(console.text())


def main() -> None:
    unpatched.keep()
    out, count = Path(sys.argv[1]), int(sys.argv[2])
    linux = json.loads((out / "linux.json").read_text())
    with runner.start(linux["spec"], overrides=linux["overrides"], record=False, notice=print) as run:
        shown(run, 5)
        begin = time.monotonic()
        copies = runner.fork(run, count, seed=1)
        seconds = time.monotonic() - begin
    texts = [shown(copy, 3).decode(errors="replace") for copy in copies]
    for copy in copies:
        copy.stop()
    for copy in copies:
        copy.result(PATIENCE)
    (out / "copies.json").write_text(json.dumps({"seconds": seconds, "texts": texts}))


if __name__ == "__main__":
    main()
