"""What the table of DMA costs: of a flat guest with virtual time that reads a disk, with the table and without."""

import os
import statistics
import tempfile
from pathlib import Path

import runner
import tracer
from tests.bench.figure import Figure
from tests.fakes.flatdriver import HERE
from tests.runner.replay.devicesguests import reads_for_ever
from vmspec.registers import virtio as R

ROUNDS = 9
SECONDS = 2
SPEC = """
[vm]
name = "dma"
memory = "1MiB"
time = "virtual"
timeout = "{seconds}s"
[boot]
code = "{code}"
mode = "protected"
[trace]
path = "dma.arrow"
full = "wait"
inputs = {inputs}
[[device]]
kind = "virtio-blk"
path = "disk.img"
mode = "ro"
[expect]
exit = ["timeout"]
"""


def measure() -> list[Figure]:
    """Medians of interleaved runs, and of the ratios of each pair."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "disk.img").write_bytes(os.urandom(1 << 16))
        rounds = [[_rate(directory, inputs) for inputs in (True, False)] for _ in range(ROUNDS + 1)][1:]
    return [
        Figure("4 KiB reads with virtual time, DMA recorded", statistics.median(each[0] for each in rounds), "1/s"),
        Figure("4 KiB reads with virtual time, not recorded", statistics.median(each[1] for each in rounds), "1/s"),
        Figure(
            "time of such a read, DMA recorded / not recorded",
            statistics.median(without / recorded for recorded, without in rounds),
            "ratio",
            1.1,
        ),
    ]


def _rate(directory: Path, inputs: bool) -> float:
    """Requests a second."""
    spec = directory / "dma.toml"
    code = reads_for_ever(3, 4096).hex()
    spec.write_text(SPEC.format(code=code, inputs=str(inputs).lower(), seconds=SECONDS))
    result = runner.run(spec)
    assert result.kind == "timeout", result
    rows = tracer.load(result.trace).table
    kicks = sum(addr == HERE + R.QUEUE_NOTIFY for addr in rows["addr"].to_pylist())
    return kicks / SECONDS
