"""Uses mutated files, one after another, until one fails: ``python -m tests.mutated.worker KIND FIRST STOP FOLDER``.

Each is made of its number alone, so that a failure can be had again. Before each its number is written to
FOLDER/at, for whoever finds this process dead. A failure is printed, its file kept as FOLDER/failed-NUMBER, and the
status is 1.
"""

import faulthandler
import os
import random
import shutil
import sys
import traceback
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from tests.mutated.images import Images
from tests.mutated.kernels import MAKERS, Kernels
from tests.mutated.rings import RingFiles
from tests.mutated.snapshots import Snapshots
from tests.mutated.specs import Specs
from tests.mutated.traces import Traces
from tests.mutated.watch import HangError, limited, peak

KINDS: dict[str, Any] = {"specs": Specs, "images": Images, "rings": RingFiles, "traces": Traces, "snapshots": Snapshots}
KINDS |= {kind: partial(Kernels, kind) for kind in MAKERS}
MEMORY_MAX = 1 << 30  # bytes
STUCK = 120  # seconds after which a process that no signal reaches says where it is, and ends


def main(kind: str, first: int, stop: int, folder: Path) -> int:
    """Use the inputs of these numbers; returns the exit status."""
    os.fsync = lambda descriptor: None  # these files need not outlive the host
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    place = folder / kind
    place.mkdir(exist_ok=True)
    inputs = KINDS[kind](place)
    done: Counter[str] = Counter()
    for number in range(first, stop):
        (folder / "at").write_text(str(number))
        rng = random.Random(f"{kind} {number}")
        faulthandler.dump_traceback_later(STUCK, exit=True)
        try:
            what = inputs.mutate(rng)
            done[what] += 1
            with limited():
                inputs.check(rng)
            if (memory := peak()) > MEMORY_MAX:
                raise AssertionError(f"{memory >> 20} MiB")
        except (Exception, HangError):
            traceback.print_exc(file=sys.stdout)
            print(f"{kind} {number} ({what})", flush=True)
            shutil.copytree(
                place, folder / f"failed-{kind}-{number}", dirs_exist_ok=True, ignore=shutil.ignore_patterns("cache")
            )
            return 1
    faulthandler.cancel_dump_traceback_later()
    print(dict(done))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
