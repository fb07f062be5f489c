"""Runs inside the lab: runs of vmrun, one after the other, with a program that reads the console and answers.

    talk.py JOBS OUT

JOBS is a JSON file: "images", the size in bytes of each that is made in HERE before all runs, or the file that is
copied there; and "runs", a list of {"name", "arguments" (of vmrun), "steps", "after"}. Of the steps, pairs of a text
and an answer, each waits until the console has shown the text since the step before, and then sends the answer; null
kills vmrun. "after" is a command that looks at the images afterwards, in HERE, or empty. Each run leaves in OUT/NAME
the console, what vmrun said (log), its trace, and result.json: "status", "steps" that were made, "seconds", and
"after": the command's status and what it said.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
# In memory, because the shared directory is slow; by an overlay, which vmrun takes for a disk: threads wait for it.
HERE = Path("/var/tmp/talk")
STUCK = (5, -6)  # exit statuses of a guest that QEMU's fault has stopped: see watched.py
CLOSED = 60  # seconds until the recorder has closed the trace of a vmrun that was killed


def talk(process: subprocess.Popen[bytes], steps: list[tuple[str, str | None]], console: Path) -> int:
    """Make the steps while the run lasts. Returns their number."""
    assert process.stdin is not None
    assert process.stdout is not None
    made, seen = 0, bytearray()
    with console.open("wb") as out:
        while data := os.read(process.stdout.fileno(), 65536):
            out.write(data)
            seen += data
            while made < len(steps) and (at := seen.find(steps[made][0].encode())) >= 0:
                text, answer = steps[made]
                del seen[: at + len(text)]
                if answer is None:
                    process.kill()
                else:
                    process.stdin.write(answer.encode())
                    process.stdin.flush()
                made += 1
    return made


def run(job: dict[str, Any], folder: Path) -> dict[str, object]:
    """One run, with its files in a folder."""
    folder.mkdir()
    trace = folder / "trace.arrow"
    command = [sys.executable, "-m", "runner.cli", *job["arguments"], "--trace", str(trace)]
    start = time.monotonic()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        made = talk(process, job["steps"], folder / "console")
        status = process.wait()
    latest = time.monotonic() + CLOSED
    while trace.with_suffix(".ring").exists() and time.monotonic() < latest:
        time.sleep(0.05)
    seconds, checked = time.monotonic() - start, None
    if job["after"]:
        done = subprocess.run(job["after"], cwd=HERE, capture_output=True, text=True, check=False)
        checked = (done.returncode, done.stdout + done.stderr)
    return {"status": status, "steps": made, "seconds": seconds, "after": checked}


def main() -> None:
    jobs, out = Path(sys.argv[1]), Path(sys.argv[2])
    todo = json.loads(jobs.read_text())
    HERE.mkdir()
    for name, source in todo["images"].items():
        if isinstance(source, int):
            with (HERE / name).open("wb") as file:
                file.truncate(source)
        else:
            subprocess.run(["cp", "--sparse=always", source, HERE / name], check=True)
    for job in todo["runs"]:
        folder = HERE / job["name"]
        result = run(job, folder)
        if result["status"] in STUCK:
            print(f"{job['name']}: the guest met QEMU's fault, and is started once more", flush=True)
            shutil.copytree(folder, out / f"{job['name']}-stuck")
            shutil.rmtree(folder)
            result = run(job, folder)
        (folder / "result.json").write_text(json.dumps(result))
        shutil.copytree(folder, out / job["name"])
        print(f"{job['name']}: status {result['status']} after {result['seconds']:.1f} s", flush=True)


if __name__ == "__main__":
    main()
