"""A trace with everything that an export must handle, and its export."""

from tests.fakes.comparefakes import exit_row, write_trace
from tests.fakes.tracefakes import record_all
from tests.fakes.tracepointfakes import RAN, ROWS, STORY, record
from tracer.cli import main

MMIO = 0xFEED_0000
NOWHERE = {"reason": "hlt", "device": "-", "direction": "none", "addr": 0, "size": 0, "count": 0, "data": 0}


def some_rows():
    """Two vCPUs; text, string I/O, accesses that no device claims, halts, the extremes of numbers."""
    rows = [exit_row(data=byte) for byte in b"boot\n"]
    rows += [exit_row(vcpu=1, reason="mmio", addr=MMIO + n, device="rtc0", size=4, data=n << 28) for n in range(3)]
    rows.append(exit_row(count=12, data=int.from_bytes(b"string I", "little"), payload=b"string I/O\n!", flags=48))
    rows.append(exit_row(**NOWHERE, rip=(1 << 64) - 1))
    rows.append(exit_row(vcpu=1, reason="mmio", addr=(1 << 64) - 1, device="-", size=8, data=(1 << 64) - 1, flags=33))
    rows.append(exit_row(reason="wrmsr", addr=0x4B564D00, device="-", size=8, count=1))
    return rows


def with_tracepoints(folder, format_, *options):
    """What ``vmtrace export`` makes of a run whose tracepoints were recorded; to standard output of its name."""
    record_all(folder / "trace.arrow", [ROWS], summary=RAN)
    record(folder / "trace.arrow", STORY)
    out = folder / f"out.{format_}"
    assert main(["export", str(folder / "trace.arrow"), f"--{format_}", "-o", str(out), *options]) == 0
    return out


def exported(folder, format_, rows=None, *options, **how):
    """The file that ``vmtrace export`` makes of rows, which are in several batches."""
    rows = some_rows() if rows is None else rows
    trace = write_trace(folder / "trace.arrow", rows, batch=4 + len(rows) // 20, **how)
    out = folder / f"out.{format_}"
    assert main(["export", str(trace), f"--{format_}", "-o", str(out), *options]) == 0
    return out
