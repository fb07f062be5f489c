"""Any path that the kernel takes, in every locale, through all three commands."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w

pytestmark = pytest.mark.kvm

LATIN1 = "en_US.ISO-8859-1"
LOCALES = {
    "UTF-8": {"LC_ALL": "C.UTF-8"},
    "ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "ISO-8859-1": {"LC_ALL": LATIN1, "PYTHONUTF8": "0"},
}
DIRECTORY = b"-caf\xe9 \n\t\x1b[2J \xc3\xbc\xe6\xbc\xa2 \"q' \\x %41 " + b"x" * 200
SPEC, TRACE = b"-spec\xff\n.toml", b"-trace\xff \n.arrow"
GUEST = {
    "vm": {"name": "odd", "memory": "1MiB", "timeout": "20s"},
    # Two bytes to each console, then a halt.
    "boot": {"mode": "real", "code": "ba f8 03 b0 41 ee e6 e9 b0 0a ee f4"},
    "device": [{"kind": "serial", "input": "none"}, {"kind": "debug-port", "output": "out\u6f22.txt"}],
    "trace": {"path": "guest.arrow"},
}
EXPORTS = ("chrome", "collapsed", "parquet", "csv", "pcap", "perfetto")
# Each with the names of files in it, which the program below makes of bytes.
COMMANDS = [
    ["vmspec", "check", "--", SPEC],
    ["vmspec", "plan", "--", SPEC],
    ["vmspec", "plan", "--json", "--", SPEC],
    ["vmrun", b"--trace=" + TRACE, "--", SPEC],
    ["vmrun", b"--set=trace.path=" + b"-set\xff.arrow", "--", SPEC],
    ["vmspec", "show", b"--set=trace.path=" + b"-set\xff.arrow", "--", SPEC],
    *(["vmtrace", command, "--", TRACE] for command in ("info", "summary", "timeline", "hot", "events", "console")),
    ["vmtrace", "report", "--", TRACE],
    ["vmtrace", "top", "--once", "--", TRACE],
    ["vmtrace", "sql", "--json", "--", TRACE, "select count(*) from exits, console"],
    ["vmtrace", "hot", b"--symbols=-map\xff", "--", TRACE],
    *(
        ["vmtrace", "export", f"--{kind}", "--", TRACE]
        for kind in ("chrome", "collapsed", "parquet", "csv", "perfetto")
    ),
    ["vmtrace", "summary", b"--parquet=-table\xff.parquet", "--", TRACE],
    ["vmtrace", "convert", "--", TRACE, b"-c\xff.parquet"],
    ["vmtrace", "convert", "--", b"-c\xff.parquet", b"-c\xff.arrows"],
    ["vmtrace", "convert", "--", b"-c\xff.arrows", b"-c\xff.csv"],
    ["vmtrace", "recover", "--", b"-c\xff.arrows"],
    ["vmtrace", "merge", "--by-start", b"-o-merged\xff.arrow", "--", TRACE, b"-set\xff.arrow"],
    ["vmtrace", "diff", "--", TRACE, b"-merged\xff.arrow"],
]
# Runs them in one process, and prints their statuses and the trace's paths.
PROGRAM = """
import ast, json, os, sys
from pathlib import Path
from runner.cli import main as vmrun
from tracer import load
from tracer.cli import main as vmtrace
from vmspec.cli import main as vmspec
from vmspec.host.pathtext import from_text

given = lambda word: os.fsdecode(word) if isinstance(word, bytes) else word
found = []
for name, *words in ast.literal_eval(sys.argv[1]):
    try:
        found.append(globals()[name]([given(word) for word in words]))
    except SystemExit as error:
        found.append(error.code)
trace = load(given(b"-set\\xff.arrow"))
output = from_text(trace.spec["device"][1]["output"])
print(json.dumps({"found": found, "there": output.exists()}), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def locales(tmp_path_factory):
    """A directory with the 8-bit locale, made of the system's sources."""
    directory = tmp_path_factory.mktemp("locales")
    if shutil.which("localedef") is None or not Path("/usr/share/i18n/charmaps").is_dir():
        pytest.skip("localedef or its sources are missing (Debian: locales)")
    subprocess.run(["localedef", "-i", "en_US", "-f", "ISO-8859-1", directory / LATIN1], check=False)
    return directory


@pytest.mark.parametrize("locale", LOCALES)
def test_every_command_takes_any_path(tmp_path, locale, request):
    environment = {**os.environ, **LOCALES[locale]}
    if locale == "ISO-8859-1":
        environment["LOCPATH"] = str(request.getfixturevalue("locales"))
    directory = tmp_path / os.fsdecode(DIRECTORY)
    directory.mkdir()
    (directory / os.fsdecode(SPEC)).write_text(tomli_w.dumps(GUEST))
    (directory / os.fsdecode(b"-map\xff")).write_text("0000000000001000 T start\n0000000000002000 T end\n")
    arguments = [sys.executable, "-c", PROGRAM, repr(COMMANDS)]
    done = subprocess.run(arguments, cwd=directory, env=environment, capture_output=True, check=False)
    errors = done.stderr.decode("latin-1" if locale == "ISO-8859-1" else "utf-8").splitlines()
    assert done.returncode == 0, errors
    told = json.loads(errors.pop())
    failed = [(command, status) for command, status in zip(COMMANDS, told["found"], strict=True) if status]
    assert failed == [(COMMANDS[-1], 1)]  # a merged trace's devices have other names
    assert told["there"]
    assert (directory / "out\u6f22.txt").exists()
    assert [line for line in errors if not line.isprintable()] == []
    assert b"\x1b" not in done.stdout
