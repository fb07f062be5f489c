"""CPUID as a table of a TOML file."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmspec.schema.cpuid_leaves import Answer, Leaf, table
from vmspec.schema.cpuid_table import LEAVES_MAX, CpuidTable
from vmspec.schema.value import Here

registers = st.integers(0, (1 << 32) - 1)
leaves = st.builds(Leaf, registers, st.none() | st.integers(0, 9999))
tables = st.dictionaries(leaves, st.builds(Answer, registers, registers, registers, registers), max_size=8)


def read(value):
    here = Here(Path())
    return CpuidTable().read(value, here), [str(problem) for problem in here.problems]


@given(tables)
def test_what_is_written_reads_back(found):
    whole = table(found.items())
    assert read(CpuidTable().write(whole)) == (whole, [])


@given(tables)
def test_what_is_written_is_what_the_schema_says(found):
    schema = CpuidTable().schema()
    ((name, value),) = schema["patternProperties"].items()
    for leaf, answer in CpuidTable().write(table(found.items())).items():
        assert re.search(name, leaf)
        assert re.search(value["pattern"], answer)


def test_leaves_are_in_order_and_without_those_that_are_all_zeros():
    found = {Leaf(7, 1): Answer(1, 0, 0, 0), Leaf(8): Answer(0, 0, 0, 0), Leaf(7, 0): Answer(0, 0, 0, 2)}
    assert CpuidTable().write(table(found.items())) == {
        "0x00000007.0": "00000000 00000000 00000000 00000002",
        "0x00000007.1": "00000001 00000000 00000000 00000000",
    }


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (3, "must be a table"),
        ({"7": "0"}, "is not a leaf"),
        ({"0x00000007.01": "00000000 00000000 00000000 00000000"}, "is not a leaf"),
        ({"0X00000007": "00000000 00000000 00000000 00000000"}, "is not a leaf"),
        ({"0x00000007": "00000000 00000000 00000000"}, "is not an answer of CPUID"),
        ({"0x00000007": "00000000 00000000 00000000 0000000G"}, "is not an answer of CPUID"),
        ({"0x00000007": "00000000 00000000 00000000 00000000\n"}, "is not an answer of CPUID"),
        ({"0x00000007": 7}, "is not an answer of CPUID"),
        ({f"{n:#010x}": "" for n in range(LEAVES_MAX + 1)}, "has 4,097 leaves"),
    ],
)
def test_what_is_no_table_of_cpuid(value, problem):
    _, problems = read(value)
    assert (len(problems), problem in problems[0]) == (1, True)
