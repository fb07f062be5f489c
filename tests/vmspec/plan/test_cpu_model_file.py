"""The files of CPU models."""

import pytest
from hypothesis import given

from tests.vmspec.schema.test_cpuid_table import tables
from vmspec.document import Document
from vmspec.plan.cpu_model_file import LARGEST, CpuModelText, dumps, load
from vmspec.plan.settings import PlannedLeaf
from vmspec.schema.cpuid_leaves import Answer, Leaf, table
from vmspec.schema.problems import SpecError

LEAVES = {Leaf(0): Answer(1, 2, 3, 4), Leaf(7, 0): Answer(0, 5, 0, 0)}
SPEC = '[vm]\nname = "x"\n[boot]\ncode = "f4"\nmode = "real"\n[cpu]\nmodel = "m.toml"\n'


@given(tables.map(lambda found: table(found.items())).filter(bool))
def test_a_model_reads_back_from_its_text(leaves):
    assert CpuModelText(dumps(leaves)).leaves == leaves


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("# nothing\n", "m.toml:1:1: format: is missing"),
        ("format = 2\n[cpuid]\n", "m.toml:1:10: format: is out of range"),
        ("format = 1\ncpuid = 3\n", "m.toml:2:9: cpuid: must be a table"),
        ("format = 1\n[cpuid]\n", "m.toml:2:2: cpuid: has no leaf"),
        ('format = 1\n[cpuid]\n0x0 = ""\n', "m.toml:3:1: cpuid.0x0: is not a leaf"),
        ("format = 1\n[cpuid]\n0x00000000 = 7\n", "m.toml:3:14: cpuid.0x00000000: is not an answer of CPUID"),
        ("format = 1\n[cpuid\n", "m.toml:2:7: is not TOML"),
        ("\n" * (LARGEST + 1), "m.toml: is too large for a CPU model"),
    ],
)
def test_what_is_wrong_in_a_spec_s_model_is_located_in_it(tmp_path, text, problem):
    (tmp_path / "m.toml").write_text(text)
    (tmp_path / "x.toml").write_text(SPEC)
    with pytest.raises(SpecError) as caught:
        Document.open(tmp_path / "x.toml").plan()
    assert f"{tmp_path}/{problem}" in str(caught.value)


def test_a_model_that_is_missing_is_a_problem_of_the_spec(tmp_path):
    (tmp_path / "x.toml").write_text(SPEC)
    with pytest.raises(SpecError, match=r"x.toml:7:9: cpu.model: cannot be opened: No such file"):
        Document.open(tmp_path / "x.toml").plan()


def test_the_plan_has_the_leaves_and_the_file(tmp_path):
    (tmp_path / "m.toml").write_text(dumps(LEAVES))
    (tmp_path / "x.toml").write_text(SPEC)
    assert load(tmp_path / "m.toml") == LEAVES
    plan = Document.open(tmp_path / "x.toml").plan()
    assert plan.cpu.leaves == (PlannedLeaf(0, None, 1, 2, 3, 4), PlannedLeaf(7, 0, 0, 5, 0, 0))
    assert [(file.name, file.path.name) for file in plan.files] == [("cpu", "m.toml")]
    assert Document.open(tmp_path / "x.toml", 'cpu.model="host"').plan().cpu.leaves == ()
