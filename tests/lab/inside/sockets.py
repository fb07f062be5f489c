"""Inside the lab: a guest with a socket device, and programs of the host that talk to it."""

import hashlib
import json
import socket
import threading
import time
from pathlib import Path

from tests.lab.inside.vmruns import vmrun

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


def run(out: Path) -> None:
    """OUT/arguments.json are vmrun's. OUT/sockets.json gets "status" of vmrun, the SHA-256 of what the guest has
    "sent", what it has sent "back" to a program that called it, and whether a socket is "left"; OUT/console and OUT/log
    what vmrun printed."""
    found: dict[str, object] = {}
    arguments = json.loads((out / "arguments.json").read_text())
    with socket.socket(socket.AF_UNIX) as server:
        there = Path(f"{PATH}_5000")
        there.unlink(missing_ok=True)
        server.bind(str(there))
        server.listen()
        threads = [threading.Thread(target=heard, args=(server, found), daemon=True)]
        threads.append(threading.Thread(target=call, args=(found,), daemon=True))
        for thread in threads:
            thread.start()
        found["status"] = vmrun([*arguments, "--no-trace"], out, out / "console", out / "log")
        for thread in threads:
            thread.join(10)
    found["left"] = PATH.exists()
    (out / "sockets.json").write_text(json.dumps(found))
