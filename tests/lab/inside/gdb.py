"""Runs inside the lab: Linux under gdb, from its first instruction to its end. It is interrupted once it prints a text.

    gdb.py OUT COMMANDS TEXT SYMBOLS SPEC [OVERRIDE]...

COMMANDS is gdb's script and TEXT a pattern. What its group matches, gdb finds as $said once it has read said.gdb.
gdb runs in the folder of SYMBOLS. Leaves in OUT what gdb printed (gdb.out), the trace, the console, and result.json:
"kind", "status", "detail".
"""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
import runner

HERE = Path("/run/gdb")  # in memory: the shared directory is slow
LIMIT = 1200  # seconds


def main() -> None:
    out, commands, text, symbols, spec, *overrides = sys.argv[1:]
    HERE.mkdir()
    sets = (f"trace.path={HERE / 'trace.arrow'}", *overrides)
    with runner.start(spec, overrides=sets, gdb=f"unix:{HERE / 'socket'}") as run, (HERE / "gdb.out").open("w+") as to:
        try:
            debug(run, commands, text, symbols, to)
            result = run.result(60)
        except BaseException:
            to.seek(0)
            sys.stderr.write(to.read())
            raise
    (HERE / "console").write_bytes(result.console)
    said = {"kind": result.kind, "status": result.status, "detail": result.detail}
    (HERE / "result.json").write_text(json.dumps(said))
    shutil.copytree(HERE, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("socket"))


def debug(run: runner.Run, commands: str, text: str, symbols: str, to: TextIO) -> None:
    """Run gdb to its end."""
    words = ["gdb", "-nx", "-batch", "-ex", f"target remote {HERE / 'socket'}", "-x", commands, symbols]
    gdb = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=to, stderr=to, cwd=Path(symbols).parent)
    while (found := re.search(text.encode(), run._session.console.text())) is None and gdb.poll() is None:
        time.sleep(0.1)
    if found and found.groups():
        Path(symbols).with_name("said.gdb").write_bytes(b"set $said = %s\n" % found[1])
    gdb.send_signal(signal.SIGINT)  # as Ctrl-C does
    gdb.wait(LIMIT)


if __name__ == "__main__":
    main()
