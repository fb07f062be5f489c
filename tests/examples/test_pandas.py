"""The three questions, for a real boot's trace."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.stay("linux")]

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "pandas" / "questions.py"


@pytest.fixture(scope="module")
def boot(lab):
    return lab.run("sample", "6.1-cloud-bzimage-2-256MiB-reset")


@pytest.fixture(scope="module")
def questions():
    spec = importlib.util.spec_from_file_location("questions", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def exits(questions, boot):
    return questions.exits(boot.trace)


@pytest.fixture(scope="module")
def lines(questions, boot):
    return questions.console(boot.trace)


def test_the_script_answers(boot):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    command = [sys.executable, SCRIPT, boot.path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("?")) == (0, 3), done.stderr


def test_the_phases_are_the_whole_boot(questions, boot, exits, lines):
    table = questions.boot_time(exits, lines)
    first = exits[exits["vcpu"] == 0]
    assert list(table.index) == list(questions.PHASES)
    assert table["exits"].sum() == len(first)
    assert table["seconds"].sum() == pytest.approx(first["t_entry"].max() / 1e9)


def test_the_serial_console_is_hot(questions, boot, exits):
    table = questions.hot_ports(exits)
    assert table["exits"].idxmax()[0] == "serial0"  # which port takes most time is the machine's affair
    assert table.loc[("serial0", "0x3f8", "write"), "exits"] >= len(boot.console)  # the divisor is written there too
    assert list(table["seconds"]) == sorted(table["seconds"], reverse=True)


def test_linux_looks_for_a_pci_bus(questions, exits, lines):
    table = questions.unclaimed(exits, lines)
    assert table.loc[("io", "0xcf8"), "exits"] > 0
    assert table["exits"].sum() == ((exits["flags"] & 1) != 0).sum()
