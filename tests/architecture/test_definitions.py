"""What is defined once is used: fields of the exit record, its columns, keys of a spec. What is not is named."""

import re
from pathlib import Path

from vmspec.plan.settings import PlannedCPU, PlannedExpect, PlannedMemory, PlannedTrace, PlannedVM
from vmspec.schema.tables import Table
from vmspec.schema.value import keys
from vmspec.spec.models import Spec
from vmspec.trace.record import COLUMNS, RECORD, TIMES

ROOT = Path(__file__).parents[2]


def missing(table, wanted):
    """Names that a table lacks."""
    return sorted(set(wanted) - set(table))


def test_every_field_of_the_record_goes_into_a_column():
    """Payload and length say where the bytes of the column payload are."""
    columns = [TIMES.get(column.name, column.name) for column in COLUMNS]
    assert missing([*columns, "length"], [field.name for field in RECORD]) == []


def test_every_field_of_the_record_is_written_by_c():
    text = "".join(path.read_text() for path in (ROOT / "runner" / "native").glob("*.c"))
    assert missing(re.findall(r"\brecord->(\w+)", text), [field.name for field in RECORD]) == []


def test_a_column_that_the_first_traces_lack_says_so():
    first = {"seq", "vcpu", "t_exit", "t_entry", "reason", "rip", "addr", "size", "count", "direction"}
    first |= {"data", "payload", "device", "flags"}
    assert missing(first, [column.name for column in COLUMNS if not column.later]) == []


def test_every_key_of_a_spec_is_used_by_the_plan():
    """As a setting for the runner, or where the plan is made."""
    sources = [ROOT / "vmspec" / "planner.py", *(ROOT / "vmspec" / "plan").glob("*.py")]
    sources += [*(ROOT / "vmspec" / "boot").glob("*.py")]
    used = set(re.findall(r"\.(\w+)", "".join(path.read_text() for path in sources)))
    for planned in (PlannedVM, PlannedMemory, PlannedCPU, PlannedTrace, PlannedExpect):
        used |= {*planned._fields}
    named = [
        f"{table}.{attribute.name}"
        for table, of_spec in keys(Spec).items()
        if isinstance(value := of_spec.metadata["value"], Table)
        for attribute in keys(value.model).values()
        if attribute.name not in used
    ]
    assert named == []
