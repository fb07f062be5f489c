"""The layers: which package and which layer may import which."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("vmspec", "runner", "tracer")
RECORDER = "runner.recording.recorder"  # another process' program
COMPOSITION_ROOT = {
    "runner.session.session", "runner.session.recording", "runner.session.failures", "runner.session.rerun",
    "runner.session.finishing",
    "runner.recording.recorder", "runner.suite.parting", "runner.pytestplugin.guest", "runner.campaign.measure",
    "runner.verification.verifying", "runner.replay.recording", "runner.replay.dma", "runner.replay.disks",
}  # fmt: skip
RECORDED = "runner.expect.recorded"  # reads the finished trace, if the spec expects something of it

# The layers of each package, the highest first. A module imports from layers below its own, or from its own folder.
LAYERS = {
    "vmspec": (
        {"entry"}, {"cli", "kept", "loading"}, {"commands"}, {"rerun"}, {"bundle"}, {"document"},
        {"planner"}, {"exchange", "lock"}, {"boot", "show"}, {"plan"}, {"spec"}, {"devices"}, {"image", "schema"},
        {"host", "layout", "trace"}, {"registers"},
    ),
    "runner": (
        {"entry"}, {"cli"}, {"commands"}, {"campaign", "pytestplugin"}, {"suite"}, {"replay"},
        {"verification"}, {"workers"}, {"session"}, {"control"}, {"snapshot"}, {"machine"},
        {"backends", "boot", "expect", "recording"}, {"kvm", "loop", "memory", "signals"}, {"devices", "native", "x86"},
    ),
    "tracer": (
        {"entry"}, {"cli"}, {"commands"}, {"export", "html"}, {"show"}, {"analysis"}, {"read"}, {"decode", "record"},
        {"format"},
    ),
}  # fmt: skip


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def imports(path: Path) -> Iterator[str]:
    """The project's modules that a file imports anywhere, in functions too; not those for type checkers only."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom(level=0, module=str(module)):
                names = [f"{module}.{alias.name}" for alias in node.names]
            case ast.ImportFrom():
                raise AssertionError(f"{path}: a relative import")
            case _:
                continue
        for name in names:
            # What is imported from a module may be a module itself, or something in it.
            found = name if name in MODULES else name.rpartition(".")[0]
            if found.split(".")[0] in PACKAGES:
                yield found


GRAPH = {module: set(imports(path)) for module, path in MODULES.items()}


def folder(module: str) -> str:
    """The entry of LAYERS for a module: the folder, or the module, right below the package."""
    return module.split(".")[1]


def layer(module: str) -> int | None:
    found = [depth for depth, members in enumerate(LAYERS[module.partition(".")[0]]) if folder(module) in members]
    return found[0] if found else None


def in_package(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def edges(package: str) -> list[tuple[str, str]]:
    return [(module, to) for module, found in GRAPH.items() if in_package(module, package) for to in sorted(found)]


def test_the_graph_sees_imports_within_functions():
    assert "runner.session.crash" in GRAPH["runner.session.finishing"]


def test_vmspec_imports_no_other_package():
    assert [edge for edge in edges("vmspec") if not in_package(edge[1], "vmspec")] == []


def test_tracer_imports_only_vmspec():
    assert [edge for edge in edges("tracer") if in_package(edge[1], "runner")] == []


def test_only_the_composition_root_of_the_runner_imports_tracer():
    importers = {module for module, to in edges("runner") if in_package(to, "tracer")}
    assert {module for module in importers if not in_package(module, RECORDED)} == COMPOSITION_ROOT


def test_every_module_has_a_layer():
    assert [module for module in MODULES if module not in PACKAGES and layer(module) is None] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_layer_has_its_modules_once(package):
    declared = sorted(name for members in LAYERS[package] for name in members)
    assert declared == sorted({folder(module) for module in MODULES if module.startswith(f"{package}.")})


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_leads_upward(package):
    def fits(module: str, to: str) -> bool:
        return package in (module, to) or folder(module) == folder(to) or layer(module) < layer(to)

    assert [edge for edge in edges(package) if in_package(edge[1], package) and not fits(*edge)] == []


def test_no_imports_go_round():
    graph = {module: found - {module, *PACKAGES} for module, found in GRAPH.items()}
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("package", ["runner.devices", "runner.boot"])
def test_devices_and_boot_loaders_know_no_kvm(package):
    assert [edge for edge in edges(package) if edge[1].startswith(("runner.kvm", "runner.native"))] == []


@pytest.mark.parametrize("module", [module for module in MODULES if in_package(module, "runner.devices")])
def test_devices_take_time_only_from_the_clock_that_they_are_given(module):
    """Whatever else knows the time: the standard library's clocks are not to be named."""
    clocks = {"time", "now", "utcnow", "today", "times"}
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        match node:
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                found |= {alias.name for alias in names} & {"time"}
                found |= {getattr(node, "module", None)} & {"time"}
            case ast.Call(func=ast.Attribute(value=ast.Name(id="datetime" | "date" | "os"), attr=attr)):
                found |= {attr} & clocks
    assert found == set()


def loaded(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after ``code``."""
    report = "\nimport sys\nprint('\\n' + ' '.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code + report], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_vmspec_check_loads_neither_pyarrow_nor_cffi():
    code = "from vmspec.cli import main; assert main(['check', 'examples/hello/hello.toml']) == 0"
    assert loaded(code) & {"pyarrow", "cffi", "_cffi_backend", "runner", "tracer"} == set()


def test_a_run_that_need_not_be_locked_loads_nothing_of_locks():
    # A campaign takes locks before its runs, in another process than theirs. A verdict is written after the runs.
    # Device models that are fed with a recording make no run.
    others = (RECORDER, "runner.campaign", "runner.commands.campaign", "runner.verification", "runner.replay.disks")
    of_the_vmm = {
        module
        for module in MODULES
        if in_package(module, "runner") and not any(in_package(module, other) for other in others)
    }
    with_locks = {module for module in of_the_vmm if any(in_package(to, "vmspec.lock") for to in GRAPH[module])}
    assert with_locks == {"runner.recording.kepttexts", "runner.recording.lockfacts", "runner.session.locking"}
    importers = {module for module in of_the_vmm if GRAPH[module] & with_locks}
    assert importers == {"runner.recording.kepttexts", "runner.session.hostfacts", "runner.session.session"}
    code = "import sys, runner.session.session, runner.session.recording, runner.session.facts\n"
    loaded(f"{code}assert 'vmspec.lock' not in sys.modules")


def test_the_recorder_makes_the_lock_of_a_trace_without_the_models():
    assert "attr" not in loaded("import runner.recording.recorder, runner.recording.lockfacts")


def test_what_follows_a_console_loads_no_models():
    """Else a kept plan with patterns would not start as fast as others."""
    assert loaded("import runner.expect.patterns, runner.expect.tapcases, runner.expect.ended") & {"attr"} == set()


def test_registers_are_plain_values_that_import_nothing():
    """Every start of a machine imports some of them, and both sides of a trace do."""
    for module, path in MODULES.items():
        if in_package(module, "vmspec.registers"):
            tree = ast.parse(path.read_text())
            assert [
                node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom | ast.ClassDef)
            ] == []


def test_a_vmm_loads_no_pyarrow():
    of_the_vmm = [module for module in MODULES if in_package(module, "runner") and module != RECORDER]
    of_the_vmm = [module for module in of_the_vmm if not in_package(module, RECORDED)]
    importers = {
        module for module, to in edges("runner") if in_package(to, RECORDED) and not in_package(module, RECORDED)
    }
    assert importers == {"runner.session.finishing"}
    of_tracer = {to for module in of_the_vmm for to in GRAPH[module] if in_package(to, "tracer")}
    own = [module for module in of_the_vmm if module != "runner.native.build"]
    assert "pyarrow" not in loaded(f"import {', '.join(sorted({*own, *of_tracer}))}")
    assert {to for module in of_the_vmm for to in GRAPH[module] if to == RECORDER} == set()


def test_the_build_reads_the_record_without_third_party_modules():
    assert loaded("import vmspec.plan.calls, vmspec.trace.record") & {"attr", "attrs", "cffi", "pyarrow"} == set()
