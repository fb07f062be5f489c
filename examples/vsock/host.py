"""The host's side of the sockets: answers the guest's call, then calls the guest.

    python3 host.py [PATH]

PATH is that of the spec, guest.sock.
"""

import socket
import sys
import time
from pathlib import Path


def answer(path: Path, port: int) -> str:
    """Take a connection of the guest's to a port of the host: what it says to its end, which is answered."""
    there = Path(f"{path}_{port}")
    there.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(there))
        server.listen()
        with server.accept()[0] as guest:
            said = guest.makefile().read()
            guest.sendall(b"hello from the host\n")
    there.unlink()
    return said.strip()


def call(path: Path, port: int, question: str) -> str:
    """Connect to a port of the guest, by the convention that Firecracker made, and ask. It may not listen yet."""
    while True:
        with socket.socket(socket.AF_UNIX) as guest:
            guest.connect(str(path))
            guest.sendall(f"CONNECT {port}\n".encode())
            lines = guest.makefile()
            if lines.readline().startswith("OK "):
                guest.sendall(f"{question}\n".encode())
                return lines.readline().strip()
        time.sleep(0.1)


def main() -> None:
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "guest.sock")
    print(f"host: the guest says: {answer(path, 5000)}", flush=True)
    print(f"host: the guest answers: {call(path, 1000, 'welcome')}", flush=True)


if __name__ == "__main__":
    main()
