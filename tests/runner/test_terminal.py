"""vmrun's own output, on a terminal of any width in any locale."""

import pytest

from runner.cli import main
from tests.fakes.onterminal import on_terminal

EVIL = "\x1b[2J\u202e\u6f22\xe9"
COMMANDS = [["--help"], [], [f"/none/{EVIL}"], ["SPEC", "--set", f"vm.{EVIL}=1"], ["SPEC", "--trace", f"{EVIL}/"]]
RUNS = [
    ["SPEC"],
    ["SPEC", "--json"],
    ["SPEC", "--trace", f"trace{EVIL}"],
    ["SPEC", "--set", "boot.code='b0 41 e6 e9 0f 0b'"],
]


@pytest.fixture
def shown(write_spec, tmp_path, monkeypatch):
    """What a command prints, and its status."""
    monkeypatch.chdir(tmp_path)

    def show(command, encoding, width):
        spec = str(write_spec("b0 41 e6 e9 f4", devices=[{"kind": "debug-port"}], vm={"name": EVIL[1:]}))
        words = [spec if word == "SPEC" else word for word in command]
        data, status = on_terminal(main, words, {"PYTHONIOENCODING": encoding}, width)
        text = data.decode(encoding)
        assert "Traceback" not in text
        assert [char for char in text if not char.isprintable() and char != "\n"] == []
        return text, status

    return show


@pytest.mark.long
@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
@pytest.mark.parametrize("command", COMMANDS, ids=ascii)
def test_what_needs_no_kvm(shown, command, encoding, width):
    text, status = shown(command, encoding, width)
    assert status == (0 if command == ["--help"] else 2)
    if command == ["--help"]:
        assert max(map(len, text.splitlines())) <= width


@pytest.mark.kvm
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
@pytest.mark.parametrize("command", RUNS, ids=ascii)
def test_runs(shown, command, encoding):
    text, status = shown(command, encoding, 60)
    assert "A" in text
    assert status == (4 if command == RUNS[-1] else 0)
