"""The schema and the record definition are one."""

import subprocess
import sys

import pyarrow as pa

import tracer
from tests.fakes.tracefakes import DEVICES, SAID, exit_, record_all
from tracer.format.schema import schema_of
from vmspec.trace.record import COLUMNS, EXITS

NAMED = {"reason": pa.int8(), "direction": pa.int8(), "device": pa.int16()}


def test_columns_types_and_units_are_those_of_the_record_definition():
    schema = schema_of(EXITS, {})
    for field, column in zip(schema, COLUMNS, strict=True):
        kind = pa.dictionary(NAMED[column.name], pa.utf8()) if column.name in NAMED else pa.type_for_alias(column.type)
        assert (field.name, field.type, field.nullable) == (column.name, kind, False)
        assert field.metadata == {b"unit": column.unit.encode(), b"doc": column.doc.encode()}


def test_the_schema_survives_the_file(tmp_path):
    record_all(tmp_path / "boot.arrow", [[exit_(1)]])
    with pa.ipc.open_file(str(tmp_path / "boot.arrow")) as reader:
        assert reader.schema.equals(schema_of(EXITS, SAID), check_metadata=True)


def test_importing_the_package_imports_no_pyarrow():
    imported = "tracer, tracer.record.recorder, tracer.format.paths, tracer.cli"
    code = f"import sys, {imported}; assert 'pyarrow' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_only_codes_are_stored(tmp_path):
    record_all(tmp_path / "boot.arrow", [[exit_(t) for t in range(3)]])
    column = tracer.load(tmp_path / "boot.arrow").table["device"].combine_chunks()
    assert (column.indices.to_pylist(), column.dictionary.to_pylist()) == ([1, 1, 1], ["-", *DEVICES])
