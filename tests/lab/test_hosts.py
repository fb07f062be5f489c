"""The same small guests on both emulated hosts: exits, decoders and the tracepoints beside each other."""

import re
from collections import Counter

import pytest

from tests.lab.flatguests import GUESTS
from tracer.analysis.tracepoints import by_handling, by_reason, by_vcpu, notes, summed
from tracer.show.events import described
from vmspec.trace.exit_codes import ISA_SVM, ISA_VMX
from vmspec.trace.record import FLAGS

pytestmark = [pytest.mark.lab, pytest.mark.stay("beside")]

CRASHES = [name for name in GUESTS if name.startswith("triple-fault")]
# What an exit to user space is called by each processor. The first access to a page of MMIO comes as another exit than
# the later ones on VMX. A vCPU that a signal calls out of the guest, and one that waits, leave by whatever came.
SAME = {
    "ioio": "io", "io_instruction": "io", "npf": "memory", "ept_violation": "memory", "ept_misconfig": "memory",
    "hlt": "hlt", "shutdown": "shutdown", "triple_fault": "shutdown",
}  # fmt: skip
INTEL = pytest.mark.soak  # a stay of its own
HOSTS = ["amd", pytest.param("intel", marks=INTEL)]
ENDS_ANYHOW = ("spin", "out-of-ram")  # by the host's timer; by whatever exit KVM's emulator was at


@pytest.fixture(params=[pytest.param(name, marks=INTEL) for name in GUESTS])
def both(request, lab):
    """A guest's name and its runs on the AMD and the Intel host."""
    return request.param, lab.flat("amd", request.param), lab.flat("intel", request.param)


@pytest.fixture(params=HOSTS)
def host(request):
    return request.param


@pytest.fixture(params=GUESTS)
def run(request, host, lab):
    return lab.flat(host, request.param)


def test_all_that_the_command_printed_comes_out(lab, host):
    """The last 100,000 bytes were printed at once, just before it ended."""
    printed = lab.printed(host)
    assert printed.splitlines()[-10_000:] == [f"{number:9}" for number in range(10_000)]


def test_each_host_has_the_virtualisation_of_its_name(lab, host):
    isa = lab.flat(host, "hello").trace.tracepoints.summary["isa"]
    assert isa == {"amd": ISA_SVM, "intel": ISA_VMX}[host]


def test_a_guest_ends_alike(both):
    name, amd, intel = both
    if name == "out-of-ram":  # KVM reports the processor's own numbers
        for run in (amd, intel):
            run.result["detail"] = run.result["detail"].partition(" 0x")[0]
    assert amd.result == intel.result


def test_rows_are_the_same(both):
    _, amd, intel = both
    assert comparable(amd.trace) == comparable(intel.trace)


def comparable(trace):
    """The rows without times, in the order of each vCPU; those of a shutdown without RIP, which AMD's has not."""
    rows = [{name: row[name] for name in row if not name.startswith("t_")} for row in trace.table.to_pylist()]
    for row in rows:
        if row["reason"] == "shutdown":
            row["rip"], row["flags"] = 0, row["flags"] & ~FLAGS["RIP"]
    return sorted(rows, key=lambda row: (row["vcpu"], row["seq"]))


def test_registers_are_named_and_decoded_alike(both):
    _, amd, intel = both
    assert decoded(amd.trace) == decoded(intel.trace)


def decoded(trace):
    """What vmtrace events says of each row, in the order of each vCPU."""
    rows = [row for batch in described(trace.table.to_batches()) for row in batch.to_pylist()]
    said = [[row[name] for name in ("vcpu", "seq", "what", "rw", "value", "meaning")] for row in rows]
    return sorted(said, key=lambda row: row[:2])


def test_nothing_was_lost(run):
    summary = run.trace.tracepoints.summary
    assert ([row["lost"] for row in by_vcpu(run.trace).to_pylist()], summary["unknown"]) == ([0] * vcpus(run), 0)


def vcpus(run):
    return len(run.trace.summary["rows"])


def test_kvm_exit_is_kvms_own_count_and_returns_are_the_rows(run):
    rows = by_vcpu(run.trace).to_pylist()
    assert [(row["kvm_exit"], row["returns"]) for row in rows] == [(row["exits"], row["rows"]) for row in rows]
    said = " ".join(notes(run.trace, by_vcpu(run.trace), by_handling(summed(run.trace))))
    assert said.count("the same") == 2


def test_every_exit_has_a_name(run):
    names = [row["exit"] for row in by_reason(by_handling(summed(run.trace))).to_pylist()]
    assert [name for name in names if name == "unknown" or name.isdigit()] == []


def test_rows_come_by_the_same_exits_of_the_processor(both):
    name, amd, intel = both
    if name in ENDS_ANYHOW:
        pytest.skip("its end is no exit of the guest's own")
    assert came(amd) == came(intel)


def came(run):
    """Exits of the processor that brought a row, counted by what they are called here."""
    counts = Counter()
    for row in by_handling(summed(run.trace)).to_pylist():
        if row["handled"] == "userspace":
            counts[SAME.get(row["exit"], row["exit"])] += row["exits"]
    return counts


@pytest.mark.parametrize("name", CRASHES)
def test_a_crash_report_on_amd_says_that_the_vcpu_was_reset(lab, name):
    report = lab.flat("amd", name).report
    assert "The vCPU is in the state after a reset" in report
    assert ("shutdown rip" in report, "rip 000000000000fff0" in report) == (False, False)


@INTEL
@pytest.mark.parametrize("name", CRASHES)
def test_a_crash_report_on_intel_has_the_guests_own_registers(lab, name):
    report = lab.flat("intel", name).report
    assert ("after a reset" in report, re.search(r"shutdown rip 0x\w+", report) is not None) == (False, True)


def test_a_crash_report_has_the_guests_registers_and_memory(lab, host):
    report = lab.flat(host, "triple-fault").report
    assert ("rax 0000000011223344" in report, "protected mode, 32-bit code" in report) == (True, True)
    assert re.search(r"at 0x100[13]: (e6 80 )?0f 0b", report)


def test_a_crash_report_reads_memory_by_the_guests_page_tables(lab, host):
    report = lab.flat(host, "triple-fault-high").report
    assert re.search(r"at 0xfffffffffffffff[ce]: (e6 80 )?0f 0b", report)
