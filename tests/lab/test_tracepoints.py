"""Tracepoints of a Linux boot beside the trace's rows and KVM's own counters."""

import re
from collections import Counter

import pytest

from tests.lab.labruns import TRACED
from tracer.analysis.account import account
from tracer.analysis.tracepoints import by_handling, by_reason, by_vcpu, notes, summed, time_by_vcpu
from vmspec.trace.exit_codes import ISA_SVM, ISA_VMX

pytestmark = [pytest.mark.lab, pytest.mark.stay("linux")]


# By the processor's virtualisation: what port and memory-mapped accesses come by, what Linux does that KVM handles.
COMES_BY = {
    ISA_SVM: {"io": {"ioio"}, "mmio": {"npf"}},
    ISA_VMX: {"io": {"io_instruction"}, "mmio": {"ept_violation", "ept_misconfig"}},
}
IN_KVM = {
    ISA_SVM: ("hlt", "cpuid", "msr", "npf", "vintr"),
    ISA_VMX: ("hlt", "cpuid", "msr_write", "msr_read", "ept_violation", "interrupt_window"),
}


@pytest.fixture(scope="module", params=["sample", pytest.param("intel", marks=pytest.mark.soak)])
def run(request, lab):
    return lab.run(request.param, TRACED[request.param].name)


@pytest.fixture
def isa(run):
    return run.trace.tracepoints.summary["isa"]


@pytest.fixture(scope="module")
def vcpus(run):
    return by_vcpu(run.trace).to_pylist()


def test_nothing_was_lost(run, vcpus):
    summary = run.trace.tracepoints.summary
    assert (run.status, [row["lost"] for row in vcpus], summary["unknown"]) == (0, [0, 0], 0), run.log


def test_kvm_exit_is_kvms_own_count_of_exits(vcpus):
    assert [row["kvm_exit"] for row in vcpus] == [row["exits"] for row in vcpus]


def test_returns_to_userspace_are_the_rows(vcpus):
    assert [(row["returns"], row["errors"]) for row in vcpus] == [(row["rows"], row["interrupted"]) for row in vcpus]


def test_the_reasons_of_the_returns_are_the_rows(run):
    events = run.trace.tracepoints.table.to_pylist()
    returned = Counter(
        (row["vcpu"], row["exit"]) for row in events if row["event"] == "kvm_userspace_exit" and not row["a"]
    )
    rows = run.trace.table.select(["vcpu", "reason"]).to_pylist()
    assert returned == Counter((row["vcpu"], row["reason"]) for row in rows)


def test_every_row_lies_in_the_exit_that_brought_it(run, isa):
    """Port exits are I/O exits of the processor, memory-mapped ones page faults; each row is in exactly one span."""
    handled = by_handling(summed(run.trace)).to_pylist()
    came = {row["exit"]: row["exits"] for row in handled if row["handled"] == "userspace"}
    reasons = Counter(run.trace.table["reason"].to_pylist())
    by_kind = {kind: sum(came.pop(name, 0) for name in names) for kind, names in COMES_BY[isa].items()}
    assert (by_kind, came) == ({"io": reasons["io"], "mmio": reasons["mmio"]}, {})


def test_what_linux_does_not_come_to_userspace_for(run, isa):
    reasons = {row["exit"]: row for row in by_reason(by_handling(summed(run.trace))).to_pylist()}
    handled = {name: reasons[name]["kvm"] > 0 for name in IN_KVM[isa]}
    assert (handled, reasons["hlt"]["userspace"]) == (dict.fromkeys(handled, True), 0)


# Where perf (tools/perf/util, kvm-stat and svm.h's strings) has another name for an exit than we.
PERF = {"io": "ioio", "interrupt": "intr", "UD excp": "excp_ud", "hypercall": "vmmcall"}


def test_perf_kvm_stat_counts_the_same(lab):
    """It counts an exit when the guest is entered again, so the last one of each vCPU may be missing."""
    run = lab.run("sample", TRACED["sample"].name)
    rows = re.findall(r"^ +(\S[\w ]*?) +(\d+) +[\d.]+% ", run.perf, re.MULTILINE)
    perf = {PERF.get(name, name): int(samples) for name, samples in rows}
    ours = {row["exit"]: row["exits"] for row in by_reason(by_handling(summed(run.trace))).to_pylist()}
    missing = {name: count - perf.get(name, 0) for name, count in ours.items() if count != perf.get(name, 0)}
    assert perf.keys() <= ours.keys(), run.perf
    assert sum(missing.values()) <= 2, run.perf
    assert min(missing.values(), default=0) >= 0, run.perf


def test_every_exit_has_a_name(run):
    assert [row["exit"] for row in by_reason(by_handling(summed(run.trace))).to_pylist() if row["exit"].isdigit()] == []


def test_the_command_says_that_they_agree(run):
    said = " ".join(notes(run.trace, by_vcpu(run.trace), by_handling(summed(run.trace))))
    assert (said.count("the same"), "lost" in said) == (2, False)


def test_the_time_of_each_vcpu_is_the_run_s_length(run):
    """Nothing is negative, and what KVM counted as halted lies within the exits of hlt."""
    whole = account(run.trace)
    rows = time_by_vcpu(summed(run.trace, whole), whole).to_pylist()
    parts = [name for name in rows[0] if name.endswith("_ns")]
    assert [sum(row[part] for part in parts) for row in rows] == [run.trace.summary["duration_ns"]] * 2
    assert min(row[part] for row in rows for part in parts) >= 0
    assert [life.halted_ns <= row["halted_ns"] for life, row in zip(whole.vcpus.values(), rows, strict=True)] == [
        True
    ] * 2


def test_the_reasons_have_the_time_outside_of_the_guest(run):
    whole = account(run.trace)
    sums = summed(run.trace, whole)
    rows = time_by_vcpu(sums, whole).to_pylist()
    outside = sum(row[part] for row in rows for part in ("kvm_ns", "halted_ns", "handling_ns"))
    assert sum(by_reason(by_handling(sums))["time_ns"].to_pylist()) == outside
