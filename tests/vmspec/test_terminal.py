"""All commands of vmspec on a terminal: any width, any locale; a hostile spec cannot act on it."""

import pytest

from tests.fakes.onterminal import on_terminal
from vmspec.cli import main

EVIL = "\x1b[2J\u202e\u6f22\xe9"
SPEC = """# \u6f22
[vm]
name = "m\\u00e9 \\u6f22"
memory = "1MiB"
timeout = "5s"
[boot]
mode = "real"
code = "f4"
[trace]
path = "some/folder/whose/name/is/long/\\u6f22.arrow"
[[device]]
kind = "serial"
input = "none"
[[device]]
kind = "python"
class = "own:Own"
mmio = [0xd0000000, 4096]
"""
COMMANDS = [
    ["check", "SPEC"],
    ["check", "WRONG"],
    ["check", f"/none/{EVIL}"],
    ["show", "SPEC"],
    ["plan", "SPEC"],
    ["plan", "SPEC", "--json"],
    ["plan", "SPEC", "--set", f"vm.{EVIL}=1"],
    ["keys"],
    ["schema"],
    ["--help"],
    ["plan", "--help"],
    ["plan"],
    [EVIL],
]
RIGHT = [command for command in COMMANDS if command in (["keys"], ["schema"]) or {"SPEC", "--help"} & set(command)]
RIGHT = [command for command in RIGHT if "--set" not in command]
WHOLE = ("check", "show", "schema", "--json")  # a problem is one line; what programs read too is as wide as it is


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"specs{EVIL}")
    (folder / "right.toml").write_text(SPEC)
    (folder / "wrong.toml").write_text(SPEC.replace("1MiB", f"1{EVIL.replace(chr(27), '')}").replace("f4", "zz"))
    (folder / "own.py").write_text("from runner.devices import Device\nclass Own(Device):\n    pass\n")
    return {"SPEC": str(folder / "right.toml"), "WRONG": str(folder / "wrong.toml")}


@pytest.mark.long
@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
@pytest.mark.parametrize("command", COMMANDS, ids=ascii)
def test_any_terminal(files, command, encoding, width):
    words = [files.get(word, word) for word in command]
    data, status = on_terminal(main, words, {"PYTHONIOENCODING": encoding}, width)
    text = data.decode(encoding)
    assert status == (0 if command in RIGHT else 2)
    assert "Traceback" not in text
    assert [char for char in text if not char.isprintable() and char != "\n"] == []
    # Escapes of what a locale has not are longer than it.
    if encoding == "utf-8" and command in RIGHT and not any(word in WHOLE for word in command):
        # A word that is longer, as a path may be, stays whole on a line of its own.
        assert [line for line in text.splitlines() if len(line) > width and len(line.split()) > 1] == []


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_terminal_gets_what_a_pipe_does_but_for_the_breaks(files, capsys, width):
    assert main(["plan", files["SPEC"]]) == 0
    data, _ = on_terminal(main, ["plan", files["SPEC"]], {}, width)
    assert data.decode().split() == capsys.readouterr().out.split()
