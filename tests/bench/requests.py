"""What the record of requests costs: in C, and of a small guest that drives a queue, with the table and without."""

import statistics
import tempfile
from pathlib import Path

import runner
import tracer
from runner.native import _native
from runner.recording.requests import Requests
from runner.recording.rings import Rings
from tests.bench.figure import Figure
from tests.bench.record import tsc_khz
from tests.runner.devices.virtio import test_guests as guest
from vmspec.registers import virtio as R

ffi, lib = _native.ffi, _native.lib
RECORDS = 60_000  # they have room in the ring
ROUNDS = 5
SECONDS = 2
SPEC = """
[vm]
name = "requests"
memory = "4MiB"
timeout = "{seconds}s"
[boot]
code = "{code}"
mode = "protected"
[trace]
path = "requests.arrow"
requests = {requests}
[[device]]
kind = "virtio-rng"
seed = 7
[expect]
exit = ["timeout"]
"""


def measure() -> list[Figure]:
    """In C median and 99th percentile; of the guest, which sends one request after the other, the median of interleaved
    runs."""
    cycles, khz = sorted(_records()), tsc_khz()
    ns = [cycles[len(cycles) * percent // 100] * 1e6 / khz for percent in (50, 99)]
    rates: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as directory:
        for number in range(ROUNDS + 1):  # the first round is not counted
            for requests, found in rates.items():
                rate = _rate(Path(directory), requests)
                if number:
                    found.append(rate)
    medians = {requests: statistics.median(found) for requests, found in rates.items()}
    return [
        Figure("record of a request in C, median", ns[0], "ns", 100),
        Figure("record of a request in C, p99", ns[1], "ns", 300),
        Figure("requests of a flat guest, recorded", medians[True], "1/s"),
        Figure("requests of a flat guest, recorded / not recorded", medians[True] / medians[False], "ratio"),
    ]


def _records() -> list[int]:
    with tempfile.TemporaryDirectory() as directory:
        rings = Rings(1, 65536, "drop", Path(directory) / "bench.ring", requests=True)
        rings.start(1_000_000)
        rings.populate()
        requests = Requests()
        rings.record(requests)
        samples = ffi.new("uint32_t[]", RECORDS)
        lib.requests_benchmark(requests.native, ffi.new("struct virtqueue_chain *"), samples, RECORDS)
        rings.close()
        return list(samples)


def _rate(directory: Path, requests: bool) -> float:
    """Requests a second."""
    ask = guest.start() + guest.describe(0, guest.DATA, 16, 2) + guest.store(guest.AVAILABLE + 4, 0)
    spec = directory / "requests.toml"
    code = (ask + guest.ask_for_ever()).hex()
    spec.write_text(SPEC.format(code=code, requests=str(requests).lower(), seconds=SECONDS))
    result = runner.run(spec)
    assert result.kind == "timeout", result
    rows = tracer.load(result.trace).table
    kicks = sum(addr == guest.HERE + R.QUEUE_NOTIFY for addr in rows["addr"].to_pylist())
    return kicks / SECONDS
