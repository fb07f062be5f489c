"""``vmtrace sql``: the views, and what SQL may not do."""

import json
import sys

import pytest

from tests.fakes.tracefakes import exit_, record_all
from tracer import TraceError, load
from tracer.analysis import database
from tracer.analysis.database import VIEWS, query
from tracer.cli import main
from vmspec.trace import record


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
    assert rows(path, "SELECT line, t_ns FROM console ORDER BY t_ns") == [
        {"line": "hello", "t_ns": 0},
        {"line": "you", "t_ns": 6000},
    ]


PAUSED = {
    "duration_ns": 50_000, "start_ns": [0, 0], "stop_ns": [50_000, 50_000], "rows": [11, 0],
    "pauses_ns": [[[30_000, 35_000], [40_000, 41_000]], [[29_000, 34_000], [40_500, 41_000]]],
}  # fmt: skip


def test_the_pauses(tmp_path):
    record_all(tmp_path / "boot.arrow", [[exit_(1000)], []], summary=PAUSED)
    assert rows(tmp_path / "boot.arrow", "SELECT * FROM pauses") == [
        {"machine": "", "t_ns": 30_000, "time_ns": 4000},
        {"machine": "", "t_ns": 40_500, "time_ns": 500},
    ]
    assert rows(tmp_path / "boot.arrow", "SELECT sum(time_ns)::INT AS ns FROM pauses p, exits e") == [{"ns": 4500}]


def test_a_run_without_pauses(path):
    assert rows(path, "SELECT * FROM pauses") == []


def test_times_and_addresses_have_their_units(path):
    schema = query(load(path), "SELECT addr, handling_ns, sum(size) AS total FROM exits GROUP BY ALL").schema
    assert [field.metadata[b"unit"] for field in schema] == [b"address", b"ns", b""]
    assert str(schema.field("total").type) == "int64"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("SELECT count(*) FROM exits", {"seq"}),
        ("SELECT reason, sum(handling_ns) FROM exits WHERE size = 1 GROUP BY ALL",
         {"reason", "t_exit", "t_entry", "size"}),
        ("SELECT reason FROM (SELECT reason, rip, value FROM exits)", {"reason"}),
        ("SELECT a.addr FROM exits a JOIN exits b ON a.seq = b.seq + 1 WHERE b.unclaimed", {"addr", "seq", "flags"}),
        ("SELECT line FROM console", set()),
        ("SELECT rw FROM exits", {"direction"}),
        ("SELECT 1; SELECT max(rip) FROM exits", {*(column.name for column in record.COLUMNS)}),
    ],
)  # fmt: skip
def test_only_the_columns_that_the_statement_reads_are_unpacked(path, monkeypatch, text, read):
    trace = load(path)
    seen, batches = set(), trace.batches
    monkeypatch.setattr(
        "tracer.analysis.database._console", lambda trace: database.schema(database._CONSOLE).empty_table()
    )
    monkeypatch.setattr(trace, "batches", lambda names: seen.update(names) or batches(names))
    query(trace, text)
    assert seen == read


@pytest.mark.long
@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM exits",
        "SELECT * EXCLUDE (payload) FROM exits WHERE rip = 0 AND what LIKE 'COM1%'",
        "SELECT DISTINCT value FROM exits",
        "FROM exits SELECT max(t_exit) FILTER (size > 1)",
        "SUMMARIZE exits",
        "DESCRIBE exits",
        "PIVOT exits ON reason USING count(*)",
        "WITH a AS MATERIALIZED (SELECT addr, data FROM exits) SELECT (SELECT max(data) FROM a), count(*) FROM a",
        "SELECT lag(t_exit) OVER (PARTITION BY vcpu ORDER BY seq) AS before FROM exits QUALIFY before > 0",
        "SELECT unnest([addr, rip]) FROM exits",
        "SELECT e FROM exits e",
        "SELECT count(*) FROM exits WHERE meaning = '' OR random() < 0",
        "SELECT 1; SELECT max(rip), min(value) FROM exits",
    ],
)
def test_the_plan_changes_nothing(path, monkeypatch, text):
    found = rows(path, text)
    monkeypatch.setattr("tracer.analysis.database._read_by", lambda text: database.every())
    assert sorted(map(str, rows(path, text))) == sorted(map(str, found))


def test_a_plan_that_names_too_little_is_not_believed(path, monkeypatch):
    monkeypatch.setattr(
        "tracer.analysis.database._read_by", lambda text: {name: names[:1] for name, names in database.every().items()}
    )
    assert rows(path, "SELECT max(data) AS data FROM exits") == [{"data": 0xFFFFFFFF}]


def test_what_is_of_64_bits_is_exact_in_json(path, capsys):
    text = """SELECT addr, addr AS a, seq, [addr, seq] AS both, {'data': data} AS held, max(data) OVER () AS most,
        flags, 1152921504606846976::BIGINT AS large, 3::BIGINT AS small,
        1267650600228229401496703205376::HUGEINT AS huge, 'nan'::FLOAT AS nan,
        payload, sum(data) OVER () AS total FROM exits WHERE seq = 10"""
    assert main(["sql", str(path), text, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"] == [
        {"addr": "0xcfc", "a": "0xcfc", "seq": 10, "both": ["0xcfc", "0xa"], "held": {"data": "0xffffffff"},
         "most": "0xffffffff", "flags": ["UNCLAIMED"], "large": str(1 << 60), "small": 3, "huge": str(1 << 100),
         "nan": None, "payload": "", "total": 0xFFFFFFFF}
    ]  # fmt: skip


@pytest.mark.long
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
