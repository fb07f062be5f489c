"""Runs inside the lab: guests whose networks and sockets are tried, and what they talk to on the host.

    traffic.py OUT PROGRAM BUSYBOX NAME... -- ARGUMENTS...

For each name, vmrun runs with ARGUMENTS and those in OUT/NAME.args, and OUT/NAME gets its "console", "log", "status",
trace and captures, and what the host's calls of the guest said, "called". PROGRAM is traffic.c's.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SOCKET = "/run/traffic.sock"
PAGES = {"/page": b"this host's page"}
CALLS = (("tcp", "127.0.0.1", "8080"), ("tcp", "10.9.0.2", "9001"), ("connect", SOCKET, "9001"))
SMALL = "1000000"  # bytes that the host's calls move
NAME_SERVER = b"\x0a\x01\x02\x03"  # what it answers to all questions


class Page(BaseHTTPRequestHandler):
    """Answers with what PAGES has."""

    def do_GET(self) -> None:
        page = PAGES.get(self.path)
        self.send_response(404 if page is None else 200)
        self.end_headers()
        self.wfile.write(page or b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def answer_names() -> None:
    """A name server (RFC 1035) that has the same address for every name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 53))
        while True:
            question, caller = end.recvfrom(512)
            asked = question[12 : question.index(b"\0", 12) + 5]
            a_record = asked[-4:-2] == b"\0\1"
            answers = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + NAME_SERVER if a_record else b""
            head = question[:2] + b"\x81\x80\0\1" + bytes([0, a_record]) + bytes(4)
            end.sendto(head + asked + answers, caller)


def echo() -> None:
    """Send each datagram back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("0.0.0.0", 7007))
        while True:
            with contextlib.suppress(OSError):
                end.sendto(*end.recvfrom(2048))


@contextlib.contextmanager
def started(*commands: list[str]) -> Iterator[None]:
    """Programs that run meanwhile."""
    running = [subprocess.Popen(command) for command in commands]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()


def call(program: str, busybox: str, console: Path, called: Path) -> None:
    """Call the guest's servers once they are there, each way; then let the guest go on."""
    while b"guest: serves" not in console.read_bytes():
        time.sleep(0.5)
    lines = []
    for address in CALLS:
        for way in ("send", "receive"):
            done = subprocess.run([program, "call", *address, way, SMALL], capture_output=True, text=True, check=False)
            lines.append(done.stdout)
    ping = subprocess.run([busybox, "ping", "-c", "3", "10.9.0.2"], capture_output=True, text=True, check=False)
    called.write_text("".join(lines) + ping.stdout)
    PAGES["/called"] = b""
    while b"guest: counted" not in console.read_bytes():
        time.sleep(0.5)
    with started([program, "flood", "10.9.0.2", "7007"]):
        while b"guest: bound" not in console.read_bytes():
            time.sleep(0.5)


def run(out: Path, programs: tuple[str, str], name: str, arguments: list[str]) -> None:
    """One run of vmrun. Its files are made in memory, and copied at the end: writes to OUT are slow."""
    PAGES.pop("/called", None)
    there = Path("/run") / name
    there.mkdir()
    (there / "console").touch()
    caller = threading.Thread(target=call, args=(*programs, there / "console", there / "called"), daemon=True)
    caller.start()
    command = [sys.executable, "-m", "runner.cli", *arguments, "--trace", str(there / "trace.arrow")]
    with (there / "console").open("wb") as console, (there / "log").open("wb") as log:
        begin = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=console, stderr=log, check=False)
    print(name, done.returncode, f"{time.monotonic() - begin:.0f} s", flush=True)
    (there / "status").write_text(str(done.returncode))
    caller.join(5)
    shutil.copytree(there, out / name, dirs_exist_ok=True)
    shutil.rmtree(there)


def main() -> None:
    out, program, busybox = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    at = sys.argv.index("--")
    names, arguments = sys.argv[4:at], sys.argv[at + 1 :]
    Path("/etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    for words in ("tuntap add tap0 mode tap multi_queue", "address add 10.9.0.1/24 dev tap0", "link set tap0 up"):
        subprocess.run(["ip", *words.split()], check=True)
    server = ThreadingHTTPServer(("127.0.0.1", 8000), Page)
    for work in (server.serve_forever, answer_names, echo):
        threading.Thread(target=work, daemon=True).start()
    serves = [program, "serve", "tcp", "0.0.0.0", "9000"], [program, "serve", "unix", f"{SOCKET}_9000"]
    with started(*map(list, serves)):
        for name in names:
            run(out, (program, busybox), name, [*arguments, *(out / f"{name}.args").read_text().splitlines()])
    os._exit(0)


main()
