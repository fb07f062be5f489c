"""The cost of recording in C: the cycles of one record, opened, filled and published."""

from runner.native import _native
from runner.recording.rings import Rings
from tests.bench.figure import Figure

ffi, lib = _native.ffi, _native.lib
RECORDS = 1_000_000


def measure() -> list[Figure]:
    """Median and 99th percentile of a million records into a ring in memory, in ns by the TSC's measured rate."""
    khz = tsc_khz()
    rings = Rings(1, 65536, "wait", None)
    samples = ffi.new("uint32_t[]", RECORDS)
    lib.ring_benchmark(rings.ring(0), samples, RECORDS)
    cycles = sorted(samples)
    rings.close()
    ns = [cycles[len(cycles) * percent // 100] * 1e6 / khz for percent in (50, 99)]
    return [Figure("record in C, median", ns[0], "ns", 50), Figure("record in C, p99", ns[1], "ns", 150)]


def tsc_khz() -> float:
    """The TSC's rate against the monotonic clock."""
    import time

    start, tsc = time.monotonic_ns(), lib.tsc_now()
    time.sleep(0.2)
    return float((lib.tsc_now() - tsc) / (time.monotonic_ns() - start) * 1e6)
