"""CPU models on a host: what a guest sees, and what is refused."""

from pathlib import Path

import pytest

import tracer
from runner import HostError, run
from runner.kvm.system import System
from runner.session import hostfacts
from runner.x86.cpuid import CpuidEntry, for_vcpu
from runner.x86.cpumodel import lacks, leaves
from vmspec import SpecError, kept
from vmspec.lock.drift import compare
from vmspec.lock.taking import take
from vmspec.lock.text import LockText, write
from vmspec.plan.cpu_model_file import dumps
from vmspec.plan.settings import PlannedCPU, PlannedLeaf
from vmspec.schema.cpuid_leaves import Answer, Leaf
from vmspec.schema.cpuid_table import CpuidTable
from vmspec.schema.value import Here

MODEL = PlannedCPU(leaves=(PlannedLeaf(0, None, 7, 1, 2, 3), PlannedLeaf(7, 0, 0, 0x20, 0, 0)))


def test_a_vcpu_has_the_model_and_not_the_hosts():
    host = [CpuidEntry(0, 0, 0, 0x20, 9, 9, 9), CpuidEntry(0x80000002, 0, 0, 1, 2, 3, 4)]
    entries = for_vcpu(host, 0, 1, MODEL, tsc_deadline=True)
    assert entries == [CpuidEntry(0, 0, 0, 7, 1, 2, 3), CpuidEntry(7, 0, 1, 0, 0x20, 0, 0)]
    removed = for_vcpu(host, 0, 1, MODEL._replace(disable=("avx2",)), tsc_deadline=True)
    assert removed[1].ebx == 0


def test_what_a_host_lacks_of_a_model():
    assert lacks(MODEL, [CpuidEntry(0, 0, 0, 7, 1, 2, 3), CpuidEntry(7, 0, 1, 0, 0x21, 0, 0)]) == []
    assert lacks(MODEL, [CpuidEntry(0, 0, 0, 7, 1, 2, 3)]) == ["avx2 (leaf 0x00000007 ebx, bit 5)"]


def test_entries_are_a_table():
    entries = [CpuidEntry(7, 1, 1, 1, 0, 0, 0), CpuidEntry(7, 0, 1, 0, 0, 0, 2), CpuidEntry(8, 0, 0, 0, 0, 0, 0)]
    assert leaves(entries) == {Leaf(7, 0): Answer(0, 0, 0, 2), Leaf(7, 1): Answer(1, 0, 0, 0)}


CODE = """
    mov $0x80000002, %eax
    cpuid
    mov $0x3f8, %dx
    out %al, %dx
    hlt
"""


@pytest.fixture
def modelled(write_spec, assemble, tmp_path):
    """Writes the spec of a guest that prints the first letter of its processor's name; its model is the host's with
    changes."""

    def make(**changes):
        host = CpuidTable().read(hostfacts.facts(PlannedCPU())["must"]["cpuid"], Here(Path()))
        for name, answer in changes.items():
            host |= {Leaf(int(name[1:], 16)): answer(host[Leaf(int(name[1:], 16))])}
        (tmp_path / "m.toml").write_text(dumps(host))
        serial = {"kind": "serial", "input": "none"}
        return write_spec(assemble(CODE), devices=[serial], cpu={"model": "m.toml"})

    return make


@pytest.mark.kvm
def test_a_guest_sees_the_model(modelled):
    result = run(modelled(_80000002=lambda answer: answer._replace(eax=ord("Z"))))
    assert (result.kind, result.console) == ("halt", b"Z")


@pytest.mark.kvm
def test_a_model_that_the_host_has_not_is_refused_by_name(modelled, tmp_path):
    path = modelled(_0=lambda answer: answer._replace(ebx=answer.ebx ^ 1, eax=0xFFFF))
    with pytest.raises(HostError) as caught:
        run(path)
    assert "it lacks leaf 0x00000000 eax of 0xffff: it has " in str(caught.value)
    assert "; leaf 0x00000000 ebx of " in str(caught.value)
    assert not (tmp_path / "guest.arrow").exists()


@pytest.mark.kvm
def test_with_a_model_another_host_is_no_drift(modelled, monkeypatch):
    path = modelled(_80000002=lambda answer: answer._replace(eax=ord("Z")))
    plan, _ = kept.plan(path, ())
    write(path.with_name("guest.toml.lock"), take(plan, hostfacts.facts(plan.cpu)).lock, path.name)
    supported = System.supported_cpuid

    def other(system):
        brand = (0x80000002, 0x80000003)
        return [entry._replace(eax=7) if entry.function in brand else entry for entry in supported(system)]

    monkeypatch.setattr(System, "supported_cpuid", other)
    assert run(path, locked=True).console == b"Z"
    text = (path.parent / "m.toml").read_text()
    (path.parent / "m.toml").write_text("# a comment\n" + text)
    recorded = LockText(tracer.load(run(path, locked=True).trace).metadata["vmrun.lock"]).lock
    assert compare(LockText.open(path.with_name("guest.toml.lock")).lock, recorded) == ()
    (path.parent / "m.toml").write_text(text.replace("0000005a", "00000059"))
    with pytest.raises(SpecError) as caught:
        run(path, locked=True)
    assert [problem.path for problem in caught.value.problems][:-1] == ["host.must.cpuid.0x80000002 eax"]
