"""Runs inside the lab: a guest with a socket device, and programs of the host that talk to it.

    sockets.py OUT ARGUMENTS...

ARGUMENTS are vmrun's. OUT/sockets.json gets "status" of vmrun, the SHA-256 of what the guest has "sent", and what it
has sent "back" to a program that called it; OUT/console and OUT/log what vmrun printed.
"""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PATH = Path("/run/guest.sock")
BACK = bytes(range(256)) * 4096  # 1 MiB
PATIENCE = 300


def heard(server: socket.socket, found: dict[str, object]) -> None:
    """Take all that the guest sends, then send to it."""
    end = server.accept()[0]
    digest, size = hashlib.sha256(), 0
    with end:
        while data := end.recv(65536):
            digest.update(data)
            size += len(data)
        end.sendall(BACK)
    found["sent"] = [size, digest.hexdigest()]


def call(found: dict[str, object]) -> None:
    """Call the guest until it listens; it sends back what it gets."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            with socket.socket(socket.AF_UNIX) as end:
                end.connect(str(PATH))
                end.sendall(b"CONNECT 1000\n")
                line = end.makefile("rb", buffering=0).readline()
                if line.startswith(b"OK "):
                    threading.Thread(target=lambda: (end.sendall(BACK), end.shutdown(socket.SHUT_WR))).start()
                    digest = hashlib.sha256()
                    while data := end.recv(65536):
                        digest.update(data)
                    found["back"] = digest.hexdigest()
                    return
        except OSError:
            pass
        time.sleep(0.2)


def main() -> None:
    out, arguments = Path(sys.argv[1]), sys.argv[2:]
    found: dict[str, object] = {}
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{PATH}_5000")
        server.listen()
        threads = [threading.Thread(target=heard, args=(server, found), daemon=True)]
        threads.append(threading.Thread(target=call, args=(found,), daemon=True))
        for thread in threads:
            thread.start()
        with (out / "console").open("wb") as console, (out / "log").open("wb") as log:
            command = [sys.executable, "-m", "runner.cli", *arguments, "--no-trace"]
            done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=console, stderr=log, check=False)
        for thread in threads:
            thread.join(10)
    found["status"], found["left"] = done.returncode, PATH.exists()
    (out / "sockets.json").write_text(json.dumps(found))
    os._exit(0)


main()
