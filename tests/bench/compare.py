"""The cost of comparing and exporting: ``vmtrace diff`` of two traces of ten million exits, and each export's rate."""

import shutil
import tempfile
from pathlib import Path

from tests.bench import longtrace
from tests.bench.command import cost, vmtrace
from tests.bench.figure import Figure

ROWS = 10_000_000
EXPORTED = 500_000
EXPORTS = ("perfetto", "chrome", "collapsed", "parquet", "csv", "pcap")


def measure() -> list[Figure]:
    """Seconds and peak memory of comparing equal traces and traces of one different bit; rows a second of exports."""
    figures = []
    one, small = longtrace.trace(ROWS), longtrace.trace(EXPORTED)
    with tempfile.TemporaryDirectory() as folder:
        same = Path(folder, "same.arrow")
        shutil.copyfile(one, same)
        for name, other, status in (("equal", same, 0), ("one bit different", longtrace.trace(ROWS, ROWS - 12_345), 1)):
            spent = cost(vmtrace("diff", one, other), status)
            figures.append(Figure(f"diff of 2 x 10M rows, {name}", spent.seconds, "s", 20))
            figures.append(Figure(f"diff of 2 x 10M rows, {name}: peak RSS", spent.peak, "MiB", 512))
        for name in EXPORTS:
            out = Path(folder, f"out.{name}")
            spent = cost(vmtrace("export", small, f"--{name}", "-o", out))
            figures.append(Figure(f"export --{name}", EXPORTED / spent.seconds / 1e3, "krows/s"))
            figures.append(Figure(f"export --{name}: peak RSS", spent.peak, "MiB"))
            out.unlink()
    return figures
