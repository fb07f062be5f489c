"""``make bench``: runs the measurements, prints a table, keeps the figures as JSON in build/bench.json."""

import argparse
import json
import sys
import traceback
from pathlib import Path

from tests.bench import (
    compare,
    dma,
    linux,
    page,
    peers,
    process,
    record,
    requests,
    rows,
    runs,
    scale,
    snapshots,
    startup,
    virtio,
)
from tests.bench.figure import Figure

OUT = Path("build/bench.json")
PARTS = {
    "record": record.measure,
    "requests": requests.measure,
    "dma": dma.measure,
    "process": process.measure,
    "runs": runs.measure,
    "snapshots": snapshots.measure,
    "virtio": virtio.measure,
    "startup": startup.measure,
    "linux": linux.measure,
    "scale": scale.measure,
    "rows": rows.measure,
    "compare": compare.measure,
    "page": page.measure,
    "peers": peers.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description="Measure vmrun; figures go to build/bench.json too.")
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="which parts (default: all)")
    arguments = parser.parse_args()
    figures: list[Figure] = []
    failed = False
    for name in arguments.parts or PARTS:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        try:
            figures += PARTS[name]()
        except Exception:
            traceback.print_exc()
            failed = True
    width = max((len(figure.name) for figure in figures), default=0)
    for figure in figures:
        limit = f"at most {figure.limit:g}" if figure.limit is not None else ""
        over = "  OVER" if figure.limit is not None and figure.value > figure.limit else ""
        print(f"{figure.name:{width}}  {figure.value:10.3f} {figure.unit:8} {limit}{over}")
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps([figure._asdict() for figure in figures], indent=2))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
