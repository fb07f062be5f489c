"""Runs inside the lab: the small guests of flatguests.py in one process, each with its trace and the tracepoints.

    flat.py OUT

Each leaves its trace's files and crash report in OUT/NAME, and result.json: "kind", "status", "detail", "console" (in
Latin-1), "unmet". The last that is printed are 100,000 bytes, of which none may be missing outside.
"""

import json
import shutil
import sys
from pathlib import Path

import tomli_w

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from runner.session import session
from tests.lab.flatguests import EXAMPLES, GUESTS
from tests.lab.inside import unpatched

HERE = Path("/run/flat")
LINES = 10_000  # of ten bytes each, at the very end


def run(out: Path) -> None:
    """The guests that have left nothing in a folder yet."""
    shutil.rmtree(out / "partial", ignore_errors=True)
    for name, guest in GUESTS.items():
        if (out / name).exists():
            continue
        folder = HERE / name
        folder.mkdir(parents=True)
        trace = f"trace.path={folder / 'trace.arrow'}"
        spec = EXAMPLES / guest.example
        if not guest.example:
            spec = folder / "guest.toml"
            spec.write_text(tomli_w.dumps(guest.spec()))
        result = session.run(spec, overrides=(trace, 'trace.tracepoints="required"'))
        said = {name: getattr(result, name) for name in ("kind", "status", "detail", "unmet")}
        (folder / "result.json").write_text(json.dumps(said | {"console": result.console.decode("latin-1")}))
        # Under its name only when whole: the emulated host may hang at any moment.
        shutil.copytree(folder, out / "partial")
        (out / "partial").rename(out / name)
        print(f"{name}: {result.kind} {result.status} after {result.seconds:.3f} s", flush=True)


def print_lines() -> None:
    print("".join(f"{number:9}\n" for number in range(LINES)), end="", flush=True)


if __name__ == "__main__":
    unpatched.keep()
    run(Path(sys.argv[1]))
    print_lines()
