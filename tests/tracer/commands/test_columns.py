"""One vocabulary: every command prints the columns that `vmtrace columns` lists, and jq keeps their JSON exact."""

import argparse
import json
import shutil
import subprocess
from collections import defaultdict
from importlib import import_module

import pyarrow as pa
import pytest

from tests.fakes.tracefakes import exit_, record_all
from tracer import load
from tracer.analysis.database import VIEWS, query
from tracer.analysis.where import NAMES
from tracer.cli import main
from tracer.commands.columns import schemas
from tracer.format.jsonvalues import exact
from tracer.format.vocabulary import EXIT, HEXADECIMAL, UNITS, heading, unit
from tracer.show.events import READABLE
from vmspec.trace.record import FLAGS
from vmspec.trace.tables import TABLES

TIMES = {column.name for table in TABLES.values() for column in table.columns if column.unit == "ns"}
RIP, DATA = 0xFFFFFFFF81000001, (1 << 64) - 1  # neither is a double


@pytest.fixture
def paths(tmp_path):
    """Two traces that differ in a value; one row has numbers that no double holds."""
    found = []
    for name, byte in (("a", b"x"), ("b", b"y")):
        far = exit_(
            9_000, reason="mmio", addr=RIP, data=DATA.to_bytes(8, "little"), size=8, rip=RIP, flags=FLAGS["RIP"],
            device=None,
        )  # fmt: skip
        far[0]["flags"] |= FLAGS["UNCLAIMED"]
        record_all(tmp_path / f"{name}.arrow", [[exit_(1_000), exit_(2_000, data=byte), far]])
        found.append(tmp_path / f"{name}.arrow")
    return found


def tables(monkeypatch, command, *arguments):
    """The tables that a command hands to be printed."""
    shown = {}
    monkeypatch.setattr(f"tracer.commands.{command}.show", lambda tables, *_, **__: shown.update(tables))
    assert main([command, *map(str, arguments), "--json"]) in (0, 1)
    return shown


@pytest.mark.parametrize("command", ["summary", "timeline", "hot", "diff", "diff --stat"])
def test_the_columns_listed_are_those_printed(paths, monkeypatch, command):
    a, b = paths
    arguments = {"diff": [a, b], "diff --stat": ["--stat", a, "--against", b]}.get(command, [a])
    found = tables(monkeypatch, command.partition(" ")[0], *arguments)
    listed = schemas()[command]
    assert list(listed) == list(found)
    for name, table in found.items():
        assert [(field.name, str(field.type), unit(field)) for field in listed[name]] == [
            (field.name, str(field.type), unit(field)) for field in table.schema
        ]


@pytest.mark.parametrize("view", ["exits", *VIEWS, "console"])
def test_the_views_are_those_listed(paths, view):
    found = query(load(paths[0]), f"SELECT * FROM {view}").schema
    listed = schemas()["sql"][view]
    assert found.names == listed.names
    words = {pa.utf8(): "string"}
    assert [words.get(field.type, str(field.type)) for field in found] == [str(field.type) for field in listed]


def test_events_prints_filters_and_writes_the_same_names(paths, capsys):
    assert main(["events", str(paths[0]), "--json", "--limit", "1"]) == 0
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    names = [column.name for column in EXIT]
    assert list(row) == names
    assert set(READABLE) <= set(names)
    assert [name for name in NAMES if name not in FLAGS] == [name for name in names if name != "payload"]
    assert main(["events", str(paths[0]), "--limit", "0"]) == 0
    assert capsys.readouterr().out.split() == [heading(name) for name in READABLE]


def test_every_unit_is_explained_and_every_number_of_64_bits_has_one():
    for command, of_command in schemas().items():
        for name, schema in of_command.items():
            assert len({heading(field.name) for field in schema}) == len(schema), (command, name)
            for field in schema:
                assert unit(field) in ("", *UNITS), (command, name, field.name)
                assert field.metadata.get(b"doc"), (command, name, field.name)
                if pa.types.is_uint64(field.type):
                    assert unit(field) in (*HEXADECIMAL, "number", "bytes"), (command, name, field.name)
                if pa.types.is_integer(field.type) and unit(field) == "ns":
                    assert field.name.endswith("_ns") or field.name in TIMES, (command, name)


def test_the_command(capsys):
    assert main(["columns", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["command"] for row in found["columns"]} == set(schemas())
    assert {row["unit"] for row in found["units"]} == set(UNITS)
    assert main(["columns", "events"]) == 0
    text = capsys.readouterr().out
    assert "handling_ns" in text
    assert "UNCLAIMED" in text
    assert "timeline" not in text
    assert main(["columns", "event"]) == 2
    assert "did you mean 'events'?" in capsys.readouterr().err


def numbers(value):
    """All numbers in a JSON value."""
    match value:
        case bool():
            return
        case int() | float():
            yield value
        case dict():
            for one in value.values():
                yield from numbers(one)
        case list():
            for one in value:
                yield from numbers(one)


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq, of Debian's package of that name")
@pytest.mark.parametrize(
    "arguments",
    [
        ["events"],
        ["events", "--where", "rip != 0"],
        ["hot"],
        ["diff", "b"],
        ["summary"],
        ["sql", "SELECT *, [rip] AS list, {'a': addr} AS held, max(data) OVER () AS most FROM exits"],
        ["sql", "SELECT * FROM unclaimed"],
        ["timeline"],
        ["info"],
    ],
    ids=" ".join,
)
def test_jq_keeps_every_value(paths, capsys, arguments):
    a, b = map(str, paths)
    command, *more = arguments
    assert main([command, a, *(b if word == "b" else word for word in more), "--json"]) in (0, 1)
    text = capsys.readouterr().out
    done = subprocess.run(["jq", "-c", "."], input=text, capture_output=True, text=True, check=True)
    ours = [json.loads(line) for line in text.splitlines()] if command == "events" else [json.loads(text)]
    assert [json.loads(line) for line in done.stdout.splitlines()] == ours
    assert all(abs(number) <= 1 << 53 for number in numbers(ours))
    if command not in ("timeline", "info"):
        assert hex(RIP) in text


def test_what_has_no_schema_is_exact_or_text():
    value = {"a": [1 << 53, (1 << 53) + 1, -(1 << 60)], "b": True, "c": float("nan"), "d": {"e": b"\x01"}, 1: None}
    assert exact(value) == {
        "a": [1 << 53, str((1 << 53) + 1), str(-(1 << 60))],
        "b": True,
        "c": None,
        "d": {"e": "01"},
        "1": None,
    }


def test_every_command_that_prints_tables_is_listed():
    from tracer.cli import COMMANDS

    for name in COMMANDS:
        parser = argparse.ArgumentParser()
        module = import_module(f"tracer.commands.{name}")
        module.prepare(parser)
        if "--all" in parser.format_help() and name != "columns":
            assert name in schemas()


def test_what_means_the_same_has_one_name():
    names = defaultdict(set)
    for of_command in schemas().values():
        for schema in of_command.values():
            for field in schema:
                names[field.metadata[b"doc"].decode()].add(field.name)
    assert {meaning: called for meaning, called in names.items() if len(called) > 1} == {}
