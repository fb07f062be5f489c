"""Runs inside the lab: Linux, and every command of a running machine.

    control.py OUT

OUT has control.toml and its images. Leaves there said.json: what each command printed, and what the guest's consoles
had; and the core file's header.
"""

import contextlib
import io
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
import runner
from runner.cli import main as vmrun

VMRUN = Path(sys.executable).with_name("vmrun")
HERE = Path("/run/control")  # in memory: the shared directory is slow
LIMIT = 300  # seconds
PAUSES = 100
CONNECTS = 1000
CUT = 200  # requests that end before they are whole
KILLS = 4  # of vmrun, at random moments of a boot
TRIES = 5  # of a command


class Console:
    """A port's text, and what is typed to it."""

    def __init__(self, port: str) -> None:
        self.socket = runner.connect("control").console(port).socket
        self.socket.settimeout(1)
        self.text = b""

    def until(self, pattern: bytes) -> str:
        """What came up to and with a pattern."""
        latest = time.monotonic() + LIMIT
        while (found := re.search(pattern, self.text)) is None:
            if time.monotonic() > latest:
                raise TimeoutError(f"{pattern!r} did not come: {self.text[-2000:]!r}")
            with contextlib.suppress(TimeoutError):
                self.text += self.socket.recv(1 << 16)
        got, self.text = self.text[: found.end()], self.text[found.end() :]
        return got.decode(errors="replace")

    def answer(self, command: bytes, pattern: bytes) -> str:
        """Type a command, and return what comes up to the pattern."""
        self.socket.sendall(command + b"\n")
        return self.until(pattern)


def command(*words: str) -> dict[str, object]:
    """What a command of vmrun's prints, and its exit status. The machine runs in this process, and is slow to answer
    what needs modules that it has not loaded yet."""
    for _ in range(TRIES):
        out, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            status = vmrun(list(words))
        if "does not answer" not in error.getvalue():
            break
    return {"status": status, "out": out.getvalue(), "error": error.getvalue()}


def talk(said: dict[str, object]) -> None:
    """The commands that leave the machine running."""
    serial, virtio = Console("serial0"), Console("virtio-console0")
    said["serial"] = serial.answer(b"echo a $((6 * 7))", rb"a 42")
    said["virtio"] = virtio.answer(b"echo b $((6 * 7))", rb"b 42")
    for words in (
        ("list", "--json"),
        ("inspect", "control", "--json"),
        ("stat", "control", "--json"),
        ("balloon", "control", "100MiB"),
        ("nmi", "control", "--vcpu", "1"),
    ):
        said[words[0]] = command(*words)
    said["nmi text"] = serial.until(rb"NMI received[^\n]*\n")
    said["balloon text"] = serial.answer(b"sleep 2; echo $(grep MemTotal /proc/meminfo) c", rb"kB c")
    with runner.connect("control") as control:
        control.resize(111, 33)
        latest = time.monotonic() + LIMIT
        while control.balloon().actual < 100 << 20 and time.monotonic() < latest:
            time.sleep(0.1)
        said["ballooned"] = control.balloon().actual
    said["size"] = virtio.answer(b"stty size; echo d$((1))", rb"d1")
    for device in ("serial0", "virtio-console0"):
        said[f"sysrq {device}"] = command("sysrq", "control", "h", "--device", device)
        said[f"sysrq {device} text"] = serial.until(rb"sysrq: HELP[^\n]*\n")
    said["connects"] = connects()
    said["pauses"] = pauses(serial)
    said["dump"] = command("dump", "control", str(HERE / "core"))
    said["core"] = (HERE / "core").stat().st_size
    said["machine type"] = (HERE / "core").read_bytes()[:20].hex()


def pauses(serial: Console) -> dict[str, object]:
    """Paused and resumed often while it works and looks at its clock: what it measured, and the host."""
    serial.answer(b"stty -echo; echo quiet", rb"\nquiet")
    serial.socket.sendall(
        b"cut -d' ' -f1 /proc/uptime; for i in $(seq 40); do md5sum /bin/busybox >/dev/null; sleep 0.1; done;"
        b" cut -d' ' -f1 /proc/uptime; echo done\n"
    )
    stood, begin = 0.0, time.monotonic()
    for _ in range(PAUSES):
        status = command("pause", "control")["status"]
        assert status == 0, status
        at = time.monotonic()
        time.sleep(0.01)
        stood += time.monotonic() - at
        assert command("resume", "control")["status"] == 0
    text = serial.until(rb"\ndone")
    return {"text": text, "host": time.monotonic() - begin, "stood": stood}


def connects() -> dict[str, object]:
    """Clients that come and go while the guest works, some of them in the middle of what they say."""
    answered, random_ = 0, random.Random(1)
    for _ in range(CONNECTS):
        with runner.connect("control") as control:
            answered += control.request("status")["state"] == "running"
    for _ in range(CUT):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(HERE / sockets()[0]))
            request = b'{"id": 1, "verb": "inspect", "arguments": {}}\n'
            client.sendall(random_.choice((request, random_.randbytes(40)))[: random_.randrange(40)])
    clients = [
        subprocess.Popen([VMRUN, "stat", "control", "--watch"], stdout=subprocess.DEVNULL, start_new_session=True)
        for _ in range(3)
    ]
    for client in clients:
        time.sleep(random_.uniform(1, 8))
        client.kill()
        client.wait()
    with runner.connect("control") as control:
        return {"answered": answered, "then": control.request("status")["state"]}


def killed(out: Path) -> list[dict[str, object]]:
    """vmrun, killed at random moments of Linux's boot: what is left of it."""
    found, random_ = [], random.Random(2)
    for number in range(KILLS):
        words = (VMRUN, out / "control.toml", "--trace", HERE / f"killed{number}.arrow")
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        run = subprocess.Popen(words, **quiet, start_new_session=True)
        latest = time.monotonic() + LIMIT
        while not any(status.name == "control" for status in runner.running()) and time.monotonic() < latest:
            time.sleep(0.1)
        time.sleep(random_.uniform(0, 15))
        alive = run.poll() is None
        run.kill()
        run.wait()
        while (left := processes(run.pid)) and time.monotonic() < latest:  # the recorder completes the trace
            time.sleep(0.1)
        listed = command("list", "--json")
        found.append({"alive": alive, "left": left, "listed": listed["out"], "sockets": sockets()})
    return found


def processes(session: int) -> list[int]:
    """The processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(path.parent.name))
    return found


def sockets() -> list[str]:
    """All that are left."""
    return sorted(str(path.relative_to(HERE)) for path in HERE.rglob("*") if path.is_socket())


def one(out: Path, name: str, end: Callable[[], None], work: Callable[[], None]) -> dict[str, object]:
    """A run that a command ends."""
    sets = (f"trace.path={HERE / name}.arrow",)
    with runner.start(out / "control.toml", overrides=sets, control="control") as run:
        latest = time.monotonic() + LIMIT
        while b"vmrun: userspace" not in run._session.console.text() and time.monotonic() < latest:
            time.sleep(0.05)
        work()
        end()
        result = run.result(LIMIT)
    return {"kind": result.kind, "status": result.status, "console": result.console.decode(errors="replace")}


def main() -> None:
    out = Path(sys.argv[1])
    HERE.mkdir()
    os.environ["XDG_RUNTIME_DIR"] = str(HERE)
    said: dict[str, object] = {}
    for name, work in (("stop", lambda: talk(said)), ("reset", lambda: None)):
        ended: dict[str, object] = {}
        said[name] = one(out, name, lambda name=name, ended=ended: ended.update(command(name, "control")), work)
        said[f"{name} command"] = ended
    said["left"] = sockets()
    said["killed"] = killed(out)
    (HERE / "said.json").write_text(json.dumps(said))
    shutil.copy(HERE / "said.json", out)


if __name__ == "__main__":
    main()
