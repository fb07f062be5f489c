"""Devices that delete or replace names of Python's own modules, which vmrun uses too."""

import builtins
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.devices.device import DeviceError
from runner.devices.names import Names

pytestmark = pytest.mark.kvm

DEVICE = """
import builtins, sys
everybodys = sys.modules["builtins"]
from runner.devices import Device

class Keep(Device):
    def __init__(self):
        self.call("__init__")
    def call(self, method):
        if method == {method!r}:
            {change}
    def start(self):
        self.call("start")
        self.bus.writes("port", 0, "coalesced")
        self.after(1000)
    def read(self, region, offset, size):
        self.call("read")
        return 0
    def write(self, region, offset, size, value):
        self.call("write")
    def written(self, region, offset, size, data):
        self.call("written")
    def tick(self):
        self.call("tick")
    def close(self):
        self.call("close")
"""
KEEPER = {"kind": "python", "class": "keep:Keep", "port": [0x80, 2]}


@pytest.fixture
def vmrun(write_spec):
    """Runs the command on a guest with such a device, in a process of its own; returns (status, standard error)."""

    def run(code, source):
        spec = write_spec(code, devices=[KEEPER], files={"keep.py": source})
        command = [sys.executable, "-m", "runner.cli", spec]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)
        return done.returncode, done.stderr

    return run


CHANGED = ["len", "print", "__import__", "BaseException"]


@pytest.mark.parametrize("name", CHANGED)
@pytest.mark.parametrize("change", ["del builtins.{}", "builtins.{} = None"])
def test_a_device_that_changes_a_name_of_builtins_does_so_for_itself(vmrun, change, name):
    status, said = vmrun("e4 80 f4", DEVICE.format(method="read", change=change.format(name)))
    assert (status, said.startswith("vmrun: halt after")) == (0, True)


def test_a_device_misses_a_name_that_it_has_deleted(vmrun, tmp_path):
    (tmp_path / "beside.py").write_text("import builtins\ndel builtins.len\n")
    status, said = vmrun("e4 80 f4", "import beside\n" + DEVICE.format(method="read", change="len(b'')"))
    assert (status, "device python0 raised NameError: name 'len' is not defined (" in said) == (2, True)


@pytest.mark.parametrize("name", CHANGED)
def test_a_device_that_deletes_a_name_of_the_interpreters_builtins(vmrun, name):
    status, said = vmrun("f4", DEVICE.format(method="close", change=f"del everybodys.{name}"))
    assert said.startswith(f"vmrun: device python0 changed builtins.{name}")
    assert (status, "Traceback" in said) == (2, False)


@pytest.mark.parametrize("name", CHANGED)
def test_a_device_that_replaces_a_name_of_the_interpreters_builtins(vmrun, name):
    status, said = vmrun("f4", DEVICE.format(method="close", change=f"everybodys.{name} = None"))
    assert (status in (0, 2), "Traceback" in said) == (True, False)


# While no other thread runs: one that needs a name meanwhile fails, and how is its matter.
@pytest.mark.parametrize("method", ["import", "__init__", "start", "close"])
def test_a_device_that_deletes_all_of_builtins(vmrun, method):
    source = DEVICE.format(method=method, change="vars(everybodys).clear()")
    if method == "import":
        source += "vars(everybodys).clear()\n"
    status, said = vmrun("f4", source)
    assert (status, "changed builtins.__name__, " in said, "Traceback" in said) == (2, True, False)
    assert said.startswith("vmrun: device " + ("class keep:Keep: " if method in ("import", "__init__") else "python0 "))


# What the main loop, the device thread and the end of the run call.
OTHERS = ["sys.exit", "os.write", "os.eventfd_write", "threading.Lock", "time.monotonic"]


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(
    ("change", "fails"),
    [
        ("del {}", False),
        ("{} = None", True),
        pytest.param("del {}", True, marks=pytest.mark.soak),
        pytest.param("{} = None", False, marks=pytest.mark.soak),
    ],
)
def test_a_device_that_changes_another_module(vmrun, name, change, fails):
    """It changes vmrun itself. The run ends nevertheless, with vmrun's status."""
    change = f"import os, sys, threading, time; {change.format(name)}" + ("; raise OSError" if fails else "")
    status, said = vmrun("e4 80 f4", DEVICE.format(method="read", change=change))
    assert (status in ((2,) if fails else (0, 2)), "Traceback" in said) == (True, False)


def test_the_exit_status_is_vmruns_where_a_device_changes_how_programs_end(vmrun):
    status, _ = vmrun("0f 0b", DEVICE.format(method="close", change="import sys; sys.exit = print"))
    assert status == 4


def test_a_run_leaves_builtins_as_they_were(run_guest):
    before = dict(vars(builtins))
    for method in ("close", "start"):
        source = DEVICE.format(method=method, change="del everybodys.len; everybodys.print = None; everybodys.more = 3")
        try:
            result = run_guest("f4", devices=[KEEPER], files={"keep.py": source})
            assert (result.kind, result.status) == ("device-error", 2)
        except DeviceError as error:
            assert str(error) == "device python0 changed builtins.print, builtins.len"  # noqa: PT017
        assert vars(builtins) == before | {"more": 3}
        del builtins.more


def test_what_a_device_adds_to_builtins_stays(run_guest):
    source = DEVICE.format(method="read", change="everybodys.more = 3")
    result = run_guest("e4 80 e4 80 f4", devices=[KEEPER], files={"keep.py": source})
    assert (result.kind, builtins.more) == ("halt", 3)
    del builtins.more


def test_a_name_that_moves_has_not_changed():
    names = Names(builtins)
    vars(builtins)["len"] = vars(builtins).pop("len")
    assert names.restore() == ()


def test_what_an_interactive_program_keeps_may_change(monkeypatch):
    monkeypatch.setattr(builtins, "_", 1, raising=False)
    names = Names(builtins)
    monkeypatch.setattr(builtins, "_", 2)
    assert (names.restore(), builtins._) == ((), 2)


def test_the_functions_of_another_module_are_restored_and_its_values_are_not(monkeypatch):
    names = Names(sys)
    monkeypatch.setattr(sys, "exit", None)
    monkeypatch.setattr(sys, "argv", ["other"])
    assert (names.restore(), callable(sys.exit), sys.argv) == (("exit",), True, ["other"])
