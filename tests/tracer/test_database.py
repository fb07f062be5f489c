"""``vmtrace sql``: the views, and what SQL may not do."""

import json
import sys

import pytest
from tracefakes import exit_, record_all

from tracer import TraceError, load
from tracer.cli import main
from tracer.database import VIEWS, query


@pytest.fixture
def path(tmp_path):
    records = [exit_(1000 * t, data=bytes([byte])) for t, byte in enumerate(b"hello\nyou\n")]
    records.append(exit_(20_000, addr=0xCFC, data=b"\xff" * 4, size=4, direction="read", device=None))
    record_all(tmp_path / "boot.arrow", [records])
    return tmp_path / "boot.arrow"


def rows(path, text):
    return query(load(path), text).to_pylist()


def test_exits(path):
    assert rows(path, "SELECT reason, device, what, handling_ns, unclaimed FROM exits WHERE seq = 10") == [
        {"reason": "io", "device": "-", "what": "PCI config data", "handling_ns": 100, "unclaimed": True}
    ]


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_counts_exits(path, view):
    assert sum(row["exits"] for row in rows(path, f"SELECT * FROM {view}")) == (1 if view == "unclaimed" else 11)


def test_a_statement_may_read_the_rows_twice(path):
    text = "SELECT count(*)::INT AS n FROM exits a JOIN exits b ON a.seq = b.seq + 1"
    assert rows(path, text) == [{"n": 10}]


def test_the_console(path):
    assert rows(path, "SELECT line, t FROM console ORDER BY t") == [
        {"line": "hello", "t": 0},
        {"line": "you", "t": 6000},
    ]


def test_times_and_addresses_have_their_units(path):
    schema = query(load(path), "SELECT addr, handling_ns, sum(size) AS total FROM exits GROUP BY ALL").schema
    assert [field.metadata[b"unit"] for field in schema] == [b"address", b"ns", b""]
    assert str(schema.field("total").type) == "int64"


@pytest.mark.parametrize(
    "text",
    [
        "selct",
        "",
        "SELECT nothing FROM exits",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/*')",
        "COPY exits TO 'out.csv'",
        "ATTACH 'out.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT * FROM path",  # a variable of this module
        "SELECT \ud800",
        "SELECT 1 / 'a'",
    ],
)
def test_what_sql_may_not_do_is_a_message(path, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TraceError):
        query(load(path), text)
    assert [file.name for file in tmp_path.iterdir()] == ["boot.arrow"]


def test_a_damaged_trace_is_told_as_one(path):
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle - 300 : middle + 300] = bytes(600)
    path.write_bytes(content)
    with pytest.raises(TraceError, match="damaged"):
        query(load(path), "SELECT * FROM exits")


def test_the_command(path, capsys):
    assert main(["sql", str(path), "SELECT device, exits FROM by_device", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "result": [{"device": "serial0", "exits": 10}, {"device": "-", "exits": 1}]
    }


def test_without_duckdb(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(TraceError, match=r"pip install duckdb"):
        query(load(path), "SELECT 1")
