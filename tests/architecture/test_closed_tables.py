"""Tables that more than one place must agree on: a row that is missing in one of them is named."""

import re
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

import tracer.commands
from runner.devices import TABLE, Device
from runner.machine.result import CRASHED, INTERRUPTED, OK, TIMED_OUT, UNRECORDED, Ending, status
from tracer.cli import COMMANDS
from vmspec.devices import models
from vmspec.plan.settings import PlannedExpect
from vmspec.trace.ends import CRASHES, DEVICE_ENDS, ENDS, KINDS, EndKind
from vmspec.trace.record import FLAG_DOCS, FLAGS, REASONS

ROOT = Path(__file__).parents[2]


def missing(table, wanted):
    """Names that a table lacks."""
    return sorted(set(wanted) - set(table))


# Kinds of end


def test_every_kind_of_end_has_its_row():
    assert (missing(KINDS, get_args(EndKind)), missing(get_args(EndKind), KINDS)) == ([], [])


def test_what_a_device_may_end_a_run_with_is_a_kind_of_end():
    assert missing(KINDS, DEVICE_ENDS) == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_end_has_an_exit_status(kind):
    code = status(PlannedExpect(), Ending(kind), ())
    assert code in ({CRASHED} if kind in CRASHES else {OK, TIMED_OUT, UNRECORDED, INTERRUPTED, 2, 3})
    assert status(PlannedExpect(exit=(kind,)), Ending(kind), ()) == (OK if kind in ENDS or kind in CRASHES else code)


# Kinds of device


def test_every_kind_of_device_has_its_model_in_the_runner():
    assert (missing(TABLE, models.KINDS), missing(models.KINDS, TABLE)) == ([], [])


@pytest.mark.parametrize("kind", TABLE)
def test_the_model_of_a_kind_of_device_is_there(kind):
    module, name = TABLE[kind]
    assert issubclass(getattr(import_module(f"runner.devices.{module}"), name), Device)


def test_every_model_of_a_spec_is_a_kind_of_device():
    named = {model.__name__ for model in get_args(models.Device)}
    assert missing((model.__name__ for model in models.KINDS.values()), named) == []


# Exits


# Exits of Linux 6.17 that the header here may be too old for.
NEWER = {
    "riscv_sbi": 35,
    "riscv_csr": 36,
    "notify": 37,
    "loongarch_iocsr": 38,
    "memory_fault": 39,
    "tdx": 40,
    "arm_sea": 41,
}


def header() -> dict[str, int]:
    """KVM_EXIT_* of linux/kvm.h, lower case and without what tells of an exit's details (KVM_EXIT_IO_IN)."""
    text = Path("/usr/include/linux/kvm.h").read_text()
    found = {name.lower(): int(number) for name, number in re.findall(r"#define KVM_EXIT_(\w+)\s+(\d+)\b", text)}
    details = {name for name in found if any(name.startswith(f"{other}_") for other in found)}
    return NEWER | {name.removeprefix("x86_"): number for name, number in found.items() if name not in details}


def test_every_exit_that_the_header_knows_has_its_row():
    assert missing(REASONS, header()) == []


def test_the_reasons_are_the_kernels_numbers():
    known = header()
    assert {name: number for number, name in enumerate(REASONS) if known.get(name, number) != number} == {}


def test_every_flag_is_documented():
    assert (missing(FLAG_DOCS, FLAGS), missing(FLAGS, FLAG_DOCS)) == ([], [])


# Commands


def test_every_module_of_a_command_is_a_command():
    modules = {path.stem for path in Path(tracer.commands.__file__).parent.glob("*.py")} - {"__init__"}
    assert (missing(COMMANDS, modules), missing(modules, COMMANDS)) == ([], [])
