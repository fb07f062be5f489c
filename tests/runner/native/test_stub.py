"""The stub that mypy reads matches the C extension."""

import ast
from pathlib import Path

import pytest

from runner.native import _native
from runner.native.generated import kvm_names

STUB = Path(__file__).parents[3] / "runner" / "native" / "_native.pyi"
(LIB,) = (node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ClassDef))
FUNCTIONS = {node.name: node for node in LIB.body if isinstance(node, ast.FunctionDef)}
VALUES = {node.target.id for node in LIB.body if isinstance(node, ast.AnnAssign)}


def test_the_stub_has_the_names_of_the_extension():
    """Except the constants of the plan's calls, which are looked up by their names."""
    assert {*FUNCTIONS, *VALUES} == set(dir(_native.lib)) - set(kvm_names())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_takes_and_returns_what_the_stub_says(name):
    function, stub = _native.ffi.typeof(getattr(_native.lib, name)), FUNCTIONS[name]
    assert [ast.unparse(argument.annotation).split(" ")[0] for argument in stub.args.posonlyargs[1:]] == [
        kind(argument) for argument in function.args
    ]
    assert ast.unparse(stub.returns) == kind(function.result)


def kind(ctype):
    match ctype.kind:
        case "void":
            return "None"
        case "primitive" | "enum":
            return "bool" if ctype.cname == "_Bool" else "int"
    return "CData"
