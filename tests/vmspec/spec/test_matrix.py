"""The matrix of a spec: which combinations it has, and what is wrong with one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vmspec.specs import no_table, toml_values
from vmspec.document import Document
from vmspec.schema.overrides import parse
from vmspec.schema.problems import SpecError
from vmspec.spec.matrix import combinations, text

SPEC = '[vm]\nname = "x"\n[boot]\ncode = "f4"\nmode = "real"\n'


def document(matrix, *overrides):
    return Document(f"{SPEC}{matrix}\n", Path("/specs"), overrides, Path("x.toml"))


def problems(call):
    with pytest.raises(SpecError) as caught:
        call()
    return [str(problem) for problem in caught.value.problems]


def test_the_combinations_are_the_product_and_the_last_key_changes_first():
    found = document('[matrix]\n"vm.vcpus" = [1, 2]\nboot.cmdline = ["a", "b c"]\n').combinations()
    assert list(found) == [
        "vm.vcpus=1,boot.cmdline=a", "vm.vcpus=1,boot.cmdline=b c",
        "vm.vcpus=2,boot.cmdline=a", "vm.vcpus=2,boot.cmdline=b c",
    ]  # fmt: skip
    spec = found["vm.vcpus=2,boot.cmdline=b c"].spec()
    assert (spec.vm.vcpus, spec.boot.cmdline, spec.overrides) == (2, "b c", ("vm.vcpus=2", "boot.cmdline=b c"))


@pytest.mark.parametrize(
    "matrix", ["[matrix]\nvm.vcpus = [3]", "[matrix.vm]\nvcpus = [3]", '[matrix]\n"vm.vcpus" = [3]']
)
def test_a_key_of_a_matrix_can_be_written_in_each_way(matrix):
    assert [combination.spec().vm.vcpus for combination in document(matrix).combinations().values()] == [3]


def test_an_element_of_an_array_varies():
    matrix = '[matrix]\n"device[0].com" = [1, 2]\n[[device]]\nkind = "serial"'
    assert list(document(matrix).combinations()) == ["device[0].com=1", "device[0].com=2"]


def test_a_spec_without_a_matrix_is_its_only_combination():
    plain = document("")
    assert plain.combinations() == {"": plain}


def test_the_spec_itself_is_as_it_is_without_its_matrix():
    assert document("[matrix]\nvm.vcpus = [3, 4]").spec().vm.vcpus == 1


def test_an_override_can_change_the_matrix():
    assert list(document("[matrix]\nvm.vcpus = [3, 4]", "matrix.vm.vcpus=[5]").combinations()) == ["vm.vcpus=5"]


@given(st.dictionaries(st.sampled_from(["a.b", "c"]), st.lists(toml_values.filter(no_table), min_size=1, max_size=3)))
def test_an_override_of_a_combination_reads_back_as_the_value(axes):
    for made in combinations({key: tuple(values) for key, values in axes.items()}):
        for expression, (key, values) in zip(made, axes.items(), strict=True):
            path, value = parse(expression)
            assert (path, value in values, type(value) in map(type, values)) == (tuple(key.split(".")), True, True)


@pytest.mark.parametrize(
    ("value", "shown"), [("a", "a"), ("1", '"1"'), (1, "1"), (True, "true"), ([1, "a"], '[1, "a"]')]
)
def test_a_text_has_quotes_only_where_it_would_be_something_else(value, shown):
    assert text(value) == shown


@pytest.mark.parametrize(
    ("matrix", "problem"),
    [
        ("matrix = 1", "x.toml:1:10: matrix: must be a table (here: 1)"),
        ("[matrix]\nvm.vcpus = 2", "x.toml:7:12: matrix.vm.vcpus: must be an array of at least one value"),
        ("[matrix]\nvm.vcpus = []", "x.toml:7:12: matrix.vm.vcpus: must be an array of at least one value"),
        ("[matrix]\nvm.vcpus = [1, 1]", "matrix.vm.vcpus[1]: is given twice (here: 1)"),
        ('[matrix]\nvm.vcpus = [1]\n"vm.vcpus" = [2]', 'matrix."vm.vcpus": vm.vcpus is given twice'),
        ("[matrix]\nboot = [{ mode = 'real' }]", "matrix.boot[0]: must not be a table"),
        ("[matrix]\ntest.skip = ['x']", "matrix.test.skip: cannot vary"),
        ('[matrix]\n"a b" = [1]', "'a b' is not a key"),
        ('[matrix]\n"" = [1]', "is not a key of a spec"),
        (
            f"[matrix]\nvm.vcpus = {[*range(1, 102)]}\nboot.load = {[*range(100)]}",
            "x.toml:6:2: matrix: has 10,100 combinations; allowed: up to 10,000",
        ),
    ],
)
def test_a_wrong_matrix_is_a_problem_of_the_spec(matrix, problem):
    wrong = document(matrix) if matrix.startswith("[") else Document(f"{matrix}\n{SPEC}", Path("/"), (), Path("x.toml"))
    assert problem in "\n".join(problems(wrong.combinations))
    assert problem in "\n".join(problems(wrong.spec))


def test_a_wrong_value_names_the_combination_that_has_it():
    found = document("[matrix]\nvm.vcpu = [1]\nvm.memory = ['lots']").combinations()
    said = problems(next(iter(found.values())).spec)
    assert said[0].startswith("x.toml: [matrix] vm.vcpu=1: vm.vcpu: unknown key")
    assert said[1].startswith("x.toml: [matrix] vm.memory=lots: vm.memory: ")
