"""Inside the lab: the example network, through user mode and through a tap, and a web server of the host."""

import functools
import http.server
import subprocess
import threading
from pathlib import Path

from tests.lab.inside.vmruns import vmrun

TAP = (
    "ip tuntap add tap0 mode tap",
    "ip address add 10.9.0.1/24 dev tap0",
    "ip link set tap0 up",
)


def run(out: Path) -> None:
    """OUT/user.1, .log and .status are of the first run, tap.1 and so on of the second; before and after are what
    `ip address` says of the tap."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=out / "www")
    with http.server.ThreadingHTTPServer(("", 8000), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _run(out, "user")
        for command in TAP:
            subprocess.run(command.split(), check=True)
        _address(out / "before")
        _run(out, "tap")
        _address(out / "after")
        server.shutdown()


def _run(out: Path, name: str) -> None:
    status = vmrun([f"{name}.toml"], out, out / f"{name}.1", out / f"{name}.1.log")
    (out / f"{name}.1.status").write_text(f"{status}\n")


def _address(to: Path) -> None:
    with to.open("wb") as file:
        subprocess.run(["ip", "address", "show", "tap0"], stdout=file, check=True)
