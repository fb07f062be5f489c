"""Snapshots of a machine with 512 MiB, and copies of a machine: how long they take."""

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import runner
from tests.bench.figure import Figure

USED = (64, 200, 448)  # MiB of its memory that the guest has written; 448 is nearly all of it
FIRST = 32 << 20  # where it begins
PAGE = 4096
CHANGED = 1000  # pages, between a snapshot and the next
ROUNDS = 7
COPIES = 100
# Fills memory from FIRST on, then writes to port 0x80 without an end.
FILLS = "fc b85a5a5a5a bf00000002 b9{words} f3ab 40 e680 ebfb"
HALTS = "f4 ebfd"  # without an end, in KVM
SPEC = """
[vm]
name = "machine"
memory = "{memory}"
timeout = "5min"
irqchip = "{irqchip}"

[boot]
mode = "protected"
code = "{code}"

[[device]]
kind = "debug-port"
"""


def measure() -> list[Figure]:
    """The limits: 100 ms from the call to the first exit of a guest with 512 MiB, and 5 s for 100 copies."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return [*(figure for used in USED for figure in _snapshots(folder, used)), _copies(folder)]


def _snapshots(folder: Path, used: int) -> Iterator[Figure]:
    spec, file, next_ = folder / "machine.toml", folder / "first", folder / "next"
    code = FILLS.format(words=(used << 18).to_bytes(4, "little").hex())
    spec.write_text(SPEC.format(memory="512MiB", irqchip="none", code=code))
    with runner.start(spec, record=False) as run:
        machine = run._session.machine
        while not machine.counts()[0][2]:
            time.sleep(0.01)
        run.pause()
        taken = statistics.median(_seconds(lambda: run.snapshot(file)) for _ in range(ROUNDS))
        for page in random.Random(1).sample(range(FIRST // PAGE, FIRST // PAGE + used * 256), CHANGED):
            machine.memory.write(page * PAGE, b"changed")
        upon = statistics.median(_seconds(lambda: run.snapshot(next_, base=file)) for _ in range(ROUNDS))
    first, later = (statistics.median(_restored(path) for _ in range(ROUNDS)) for path in (file, next_))
    what = f"snapshot of 512 MiB, {used} MiB used"
    yield Figure(f"{what}: to take it", taken * 1e3, "ms")
    yield Figure(f"{what}: to restore it, to the first exit", first * 1e3, "ms", 100)
    yield Figure(f"{what}, {CHANGED} pages changed: to take it", upon * 1e3, "ms")
    yield Figure(f"{what}, {CHANGED} pages changed: its size", next_.stat().st_blocks * 512 / (1 << 20), "MiB")
    yield Figure(f"{what}, {CHANGED} pages changed: to restore it, to the first exit", later * 1e3, "ms")


def _seconds(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def _restored(file: Path) -> float:
    begin = time.perf_counter()
    with runner.start(file, restore=True) as run:
        machine = run._session.machine
        while not machine.counts()[0][2]:
            pass
        return time.perf_counter() - begin


def _copies(folder: Path) -> Figure:
    spec = folder / "halts.toml"
    spec.write_text(SPEC.format(memory="64MiB", irqchip="kernel", code=HALTS))
    with runner.start(spec, record=False) as run:
        begin = time.perf_counter()
        copies = runner.fork(run, COPIES)
        took = time.perf_counter() - begin
    for copy in copies:
        copy.stop()
    for copy in copies:
        copy.result()
    return Figure(f"{COPIES} copies of an idle machine with 64 MiB", took, "s", 5)
