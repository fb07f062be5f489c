"""All commands on a terminal: any width, any locale; a hostile trace cannot act on it."""

import os
import sys

import pyarrow as pa
import pyarrow.csv
import pytest
from rich.cells import cell_len

from tests.fakes import tracefakes
from tests.fakes.onterminal import STYLE, on_terminal
from tests.fakes.smallboot import SUMMARY, exits_of_a_boot
from tests.fakes.tracefakes import exit_, record_all
from tracer import load
from tracer.cli import main
from tracer.export.convert import convert
from tracer.show.csv import marked

EVIL = "\x1b[2J\x9b31m\x07\u202ename\x85"
COMMANDS = [
    ["summary"],
    ["summary", "--csv", "--table", "device"],
    ["summary", "--json"],
    ["timeline"],
    ["hot"],
    ["hot", "--collapsed"],
    ["events"],
    ["events", "--columns", "time,device,payload,what,value"],
    ["events", "--json"],
    ["console"],
    ["info"],
    ["info", "--json"],
    ["sql", "FILE", 'select line as "\x1b[2J[bold]" from console'],
    ["diff", "FILE", "FILE"],
    ["diff", "FILE", "OTHER"],
    ["tracepoints"],
    ["sql", "FILE", "select \x1b[2J"],
    ["events", "--where", "device == '\x1b[2J'"],
    ["report", "-o", "/none/\x1b[2J"],
]


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """Two traces: devices, texts, metadata and file names that would act on a terminal."""
    directory = tmp_path_factory.mktemp("evil")
    boot = {name: exits_of_a_boot() for name in ("a", "b")}
    patch = pytest.MonkeyPatch()
    patch.setattr(tracefakes, "DEVICES", ["serial0", f"debug-port{EVIL}", f"rtc{EVIL}"])
    more = {"vmrun.started": EVIL, EVIL: EVIL, "vmrun.host": '{"kernel": "\\u001b[2J", "\\u001b[1m": 1}'}
    patch.setattr(tracefakes, "METADATA", {**tracefakes.METADATA, **more})
    files = []
    for name in ("a", "b"):
        first, second = boot[name]
        text = f"[    0.1] {name}\t{EVIL}\xff\n".encode("latin-1", "replace") + f"{EVIL}\u6f22\n".encode()
        first += [exit_(96_000_000 + at, data=bytes([byte])) for at, byte in enumerate(text)]
        path = directory / f"{name}\x1b[2J.arrow"
        record_all(path, [first, second], summary=SUMMARY | {"result": {"kind": EVIL, "status": 0}})
        files.append(path)
    patch.undo()
    return files


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_nothing_acts_on_the_terminal(evil, command, encoding):
    places = {"FILE": str(evil[0]), "OTHER": str(evil[1])}
    words = [places.get(word, word) for word in command]
    words = words if "FILE" in command else [words[0], places["FILE"], *words[1:]]
    data, status = on_terminal(main, words, {"PYTHONIOENCODING": encoding}, 80)
    text = STYLE.sub("", data.decode(encoding))
    assert status in (0, 1, 2)
    assert "Traceback" not in text
    assert [char for char in text if not char.isprintable() and char not in "\n\t"] == []


@pytest.mark.parametrize("command", ["summary", "timeline", "hot", "events", "diff"])
@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 200])
def test_lines_fit(evil, command, width):
    words = [str(file) for file in (evil if command == "diff" else evil[:1])]
    data, status = on_terminal(main, [command, *words], {"NO_COLOR": "1"}, width)
    lines = STYLE.sub("", data.decode()).splitlines()
    assert status in (0, 1)
    if width >= 80:
        assert [line for line in lines if cell_len(line) > width] == []


@pytest.mark.parametrize("columns", ["0", "1", "2", "4", "-5", "many", "\xb2", "9" * 5000])
@pytest.mark.parametrize("command", ["summary", "timeline", "events", "top", "--help"])
def test_any_columns_variable(evil, command, columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    if command == "--help":
        with pytest.raises(SystemExit):
            main([command])
    else:
        assert main([command, str(evil[0])]) == 0
    assert capsys.readouterr().out


def test_a_pipe_gets_every_byte_of_the_console_and_a_terminal_on_request(evil, capfdbinary):
    text = load(evil[0]).console()
    assert b"\x1b[2J" in text
    assert main(["console", str(evil[0])]) == 0
    sys.stdout.flush()
    assert capfdbinary.readouterr().out == text
    raw, _ = on_terminal(main, ["console", "--raw", str(evil[0])], {}, 80)
    assert raw == text
    shown, _ = on_terminal(main, ["console", str(evil[0])], {}, 80)
    assert b"a\t\\x1b[2J" in shown


def test_what_a_spreadsheet_would_run_is_marked(tmp_path):
    texts = ["=1+1", "+1", "-1", "@sum", "\tx", "\rx", "\n=1", "\uff1d1", "-", "a=1", "", None, "io"]
    assert marked(pa.array(texts)).to_pylist() == [
        "'=1+1", "'+1", "'-1", "'@sum", "'\tx", "'\rx", "'\n=1", "'\uff1d1", "-", "a=1", "", None, "io",
    ]  # fmt: skip
    assert marked(pa.array([-1])).to_pylist() == [-1]


def test_csv_of_a_trace_is_marked_and_parquet_is_exact(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tracefakes, "DEVICES", ["=cmd|'/c calc'!A1", "x", "y"])
    path = tmp_path / "boot.arrow"
    record_all(path, [[exit_(1, device="=cmd|'/c calc'!A1"), exit_(2, device=None)]])
    convert(path, tmp_path / "x.csv")
    assert pa.csv.read_csv(tmp_path / "x.csv")["device"].to_pylist() == ["'=cmd|'/c calc'!A1", "-"]
    convert(path, tmp_path / "x.parquet")
    convert(tmp_path / "x.parquet", tmp_path / "y.arrow")
    assert load(tmp_path / "y.arrow").table["device"].to_pylist() == ["=cmd|'/c calc'!A1", "-"]


def test_a_converted_stream_is_no_killed_run(tmp_path, capsys):
    path = tmp_path / "boot.arrow"
    record_all(path, [[exit_(1)]])
    convert(path, tmp_path / "boot.arrows")
    later = path.stat().st_mtime_ns + 10**9
    os.utime(tmp_path / "boot.arrows", ns=(later, later))
    assert main(["info", str(path)]) == 0
    assert capsys.readouterr().err == ""
