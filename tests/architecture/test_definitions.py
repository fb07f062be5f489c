"""What is defined once is used: fields of the exit record, its columns, keys of a spec. What is not is named."""

import re
from pathlib import Path

import pytest

from vmspec.plan.settings import PlannedCPU, PlannedExpect, PlannedLock, PlannedMemory, PlannedTrace, PlannedVM
from vmspec.schema.tables import Table
from vmspec.schema.value import keys
from vmspec.spec.matrix import TEST
from vmspec.spec.models import Spec
from vmspec.trace.record import COLUMNS
from vmspec.trace.tables import TABLES

ROOT = Path(__file__).parents[2]


def missing(table, wanted):
    """Names that a table lacks."""
    return sorted(set(wanted) - set(table))


RECORDED = [table for table in TABLES.values() if table.records is not None]
each = pytest.mark.parametrize("table", RECORDED, ids=lambda table: table.name)


@each
def test_every_field_of_a_record_goes_into_a_column(table):
    """Payload and length say where the bytes of the column payload are."""
    columns = [table.records.times.get(column.name, column.name) for column in table.columns]
    assert missing([*columns, "length"], [field.name for field in table.records.fields]) == []


@each
def test_every_field_of_a_record_is_written_by_c(table):
    """Through a pointer, or in the one initialiser of a request."""
    text = "".join(path.read_text() for path in (ROOT / "runner" / "native").glob("*.c"))
    written = re.findall(rf"\b{table.records.name}->(\w+)", text)
    written += [
        field
        for made in re.findall(rf"\(struct {table.records.name}\){{(.*?)}};", text, re.DOTALL)
        for field in re.findall(r"\.(\w+) =", made)
    ]
    assert missing(written, [field.name for field in table.records.fields]) == []


def test_a_column_that_the_first_traces_lack_says_so():
    first = {"seq", "vcpu", "t_exit", "t_entry", "reason", "rip", "addr", "size", "count", "direction"}
    first |= {"data", "payload", "device", "flags"}
    assert missing(first, [column.name for column in COLUMNS if not column.later]) == []


def test_every_key_of_a_spec_is_used_by_the_plan():
    """As a setting for the runner, or where the plan is made. What vmrun test reads of a spec it reads before there is
    a plan."""
    sources = [ROOT / "vmspec" / "planner.py", *(ROOT / "vmspec" / "plan").glob("*.py")]
    sources += [*(ROOT / "vmspec" / "boot").glob("*.py")]
    used = set(re.findall(r"\.(\w+)", "".join(path.read_text() for path in sources)))
    for planned in (PlannedVM, PlannedMemory, PlannedCPU, PlannedTrace, PlannedExpect, PlannedLock):
        used |= {*planned._fields}
    named = [
        f"{table}.{attribute.name}"
        for table, of_spec in keys(Spec).items()
        if isinstance(value := of_spec.metadata["value"], Table) and table != TEST
        for attribute in keys(value.model).values()
        if attribute.name not in used
    ]
    assert named == []
