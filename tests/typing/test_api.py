"""docs/api.md: it has every public name, no other, and what it shows runs and prints what it says."""

import inspect
import re
import shutil
from importlib import import_module
from pathlib import Path
from types import NoneType

import attrs
import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "api.md").read_text()
MODULES = ("vmspec", "vmspec.plan.serial", "runner", "runner.devices", "runner.pytestplugin", "tracer", "tracer.decode")
# Sections by module, and in each those of its classes by name; the module's own is "".
SECTIONS = {
    module: dict(re.findall(r"^(?:### )?(\w*)\n(.*?)(?=^### |\Z)", text, re.DOTALL | re.MULTILINE))
    for module, text in re.findall(r"^## ([\w.]+)(\n.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
}
EXAMPLES = {
    module: re.findall(r"```python\n(.*?)```", sections[""], re.DOTALL) for module, sections in SECTIONS.items()
}


def rows(section: str) -> dict[str, str]:
    """What the first column of a section's table has, by the name that it begins with."""
    cells = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    return {re.match(r"\w+", code)[0]: code for cell in cells for code in re.findall(r"`(.+?)`", cell)}


SHORT = (type, str, int, float, NoneType)  # kinds of defaults whose text is short


class Dots:
    """A default that has no short text."""

    def __repr__(self) -> str:
        return "…"


def called(name: str, function: object, *, method: bool = False) -> str:
    """A call as the document writes it: the parameters with their defaults."""
    signature = inspect.signature(function)
    parameters = [one.replace(annotation=one.empty) for one in signature.parameters.values()]
    parameters = parameters[1:] if method and [one.name for one in parameters[:1]] == ["self"] else parameters
    parameters = [
        one
        if isinstance(one.default, type | str | int | float | None) or one.default == ()
        else one.replace(default=Dots())
        for one in parameters
    ]
    return name + str(signature.replace(parameters=parameters, return_annotation=signature.empty))


def members(cls: type) -> set[str]:
    """The public names of a class that it has itself or from a base whose members are not documented elsewhere."""
    elsewhere = {name for base in cls.__mro__[1:] if base.__name__ in CLASSES for name in public(base)}
    return set(public(cls)) - elsewhere


def public(cls: type) -> set[str]:
    """All public names of a class that are the project's, with those that its methods set."""
    if attrs.has(cls) and cls.__module__.startswith("vmspec.spec"):
        return {field.name for field in attrs.fields(cls)}
    own = [base for base in cls.__mro__ if base.__module__.split(".")[0] in ("vmspec", "runner", "tracer")]
    found = {name for base in own for name in (*vars(base), *vars(base).get("__annotations__", ()))}
    found |= {
        name for base in own for name in re.findall(r"self\.([a-z]\w*)(?:: [^=\n]+)? = ", inspect.getsource(base))
    }
    return {name for name in found if not name.startswith("_")}


CLASSES = {
    name: getattr(import_module(module), name)
    for module in MODULES
    for name in import_module(module).__all__
    if inspect.isclass(getattr(import_module(module), name))
}
HOMES = {name: module for module in MODULES for name in import_module(module).__all__ if name in CLASSES}


def test_the_document_has_the_public_modules():
    assert [module for module in SECTIONS if module != "What"] == list(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_the_document_has_every_public_name_and_no_other(module):
    names = set(import_module(module).__all__) - {"__version__"}
    assert set(rows(SECTIONS[module][""])) == names


@pytest.mark.parametrize("module", MODULES)
def test_the_document_has_calls_as_they_are(module):
    home = import_module(module)
    functions = {name for name in home.__all__ if inspect.isfunction(getattr(home, name))}
    written = rows(SECTIONS[module][""])
    assert {name: written[name] for name in functions} == {
        name: called(name, getattr(home, name)) for name in functions
    }


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_the_document_has_every_member_of_a_public_class_and_no_other(name):
    sections = SECTIONS[HOMES[name]]
    opaque = re.search(rf"^\| `{name}` \| opaque", sections[""], re.MULTILINE)
    written = rows(sections.get(name, ""))
    assert set(written) - {name} == (set() if opaque else members(CLASSES[name]))


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_the_document_has_methods_and_constructors_as_they_are(name):
    cls = CLASSES[name]
    written = {member: text for member, text in rows(SECTIONS[HOMES[name]].get(name, "")).items() if "(" in text}
    expected = {
        member: called(member, cls if member == name else getattr(cls, member), method=True) for member in written
    }
    assert written == expected
    functions = {member for member in members(cls) if inspect.isfunction(getattr(cls, member, None))}
    assert functions & rows(SECTIONS[HOMES[name]].get(name, "")).keys() <= written.keys()


@pytest.mark.parametrize("module", MODULES)
def test_public_names_have_docstrings(module):
    home = import_module(module)
    named = {f"{module}.{name}": getattr(home, name) for name in home.__all__ if name != "__version__"}
    for name, cls in CLASSES.items():
        if HOMES[name] == module:
            named |= {
                f"{module}.{name}.{member}": getattr(cls, member, None)
                for member in rows(SECTIONS[module].get(name, ""))
            }
    documented = {name: value for name, value in named.items() if inspect.isroutine(value) or inspect.isclass(value)}
    assert [name for name, value in documented.items() if not (value.__doc__ or "").strip()] == []


# What it shows


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the example's spec is."""
    shutil.copy(ROOT / "examples" / "hello" / "hello.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def outputs(module: str) -> str:
    return "".join(re.findall(r"```text\n(.*?)```", SECTIONS[module][""], re.DOTALL))


def shown(module: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The output of a module's example."""
    (code,) = EXAMPLES[module]
    exec(compile(code, f"docs/api.md, {module}", "exec"), {"__name__": "example"})
    return capsys.readouterr().out


@pytest.mark.parametrize("module", ["vmspec", "vmspec.plan.serial", "runner.devices", "tracer.decode"])
def test_what_an_example_prints(folder, capsys, module):
    assert shown(module, capsys) == outputs(module)


@pytest.mark.kvm
def test_what_the_example_of_a_run_prints(folder, capsys):
    assert shown("runner", capsys) == outputs("runner")


@pytest.mark.kvm
def test_what_the_example_of_a_trace_prints(folder, capsys):
    from runner import run

    run("hello.toml")
    assert shown("tracer", capsys) == outputs("tracer")
