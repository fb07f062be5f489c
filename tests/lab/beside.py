"""Guests with programs of the host beside them, and two that are paused: what inside/beside.py needs in one stay."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import tomli_w

from tests.guests import beside, debian, initrd, tsc
from tests.lab.labruns import HERE, LINUX, ROOT, prepared
from vmspec.document import Document

VCPUS = 2  # of Linux that is paused


def prepare(out: Path) -> None:
    """A folder for each."""
    (out / "flat").mkdir(parents=True)
    example("network", out / "network", "*.toml")
    www = out / "network" / "www"
    www.mkdir()
    (www / "page").write_text("this host's page\n")
    example("vsock", out / "vsock", "vsock.toml", "host.py")
    sockets(out / "sockets")
    paused(out / "paused")


def example(name: str, folder: Path, *patterns: str) -> None:
    """Copy an example's files, and make it ready there."""
    folder.mkdir(parents=True)
    source = ROOT / "examples" / name
    specs = []
    for pattern in patterns:
        for file in source.glob(pattern):
            specs += [folder / file.name] if file.suffix == ".toml" else []
            shutil.copy(file, folder)
    prepared(source, folder)
    for spec in specs:
        unpacked(spec)


def sockets(folder: Path) -> None:
    """A guest whose init is sockets.c."""
    folder.mkdir(parents=True)
    kernel = debian.kernel("6.1-cloud")
    program = folder / "init"
    subprocess.run(["cc", "-static", "-O1", "-o", program, HERE / "sockets.c"], check=True)
    beside.write_initrd(kernel, folder / "initrd.img", program, ("virtio_mmio", "vmw_vsock_virtio_transport"))
    sets = (f"boot.kernel={kernel.bzimage}", f"boot.initrd={folder / 'initrd.img'}")
    spec = HERE / "sockets.toml"
    unpacked(spec, *sets)
    arguments = [str(spec), *(word for each in sets for word in ("--set", each))]
    (folder / "arguments.json").write_text(json.dumps(arguments))


def paused(folder: Path) -> None:
    """Linux that says what time it has, and a guest that counts by its TSC."""
    folder.mkdir(parents=True)
    subprocess.run([sys.executable, LINUX / "prepare.py"], check=True, capture_output=True)
    initrd.write(folder / "initrd", HERE / "paused-init")
    spec = LINUX / "linux.toml"
    sets = (
        f"boot.initrd={folder / 'initrd'}",
        "boot.cmdline=console=ttyS0 panic=-1 reboot=k printk.devkmsg=on",
        f"vm.vcpus={VCPUS}",
        "expect.console=[]",
    )
    unpacked(spec, *sets)
    (folder / "linux.json").write_text(json.dumps({"spec": str(spec), "overrides": sets}))
    guest = {
        "vm": {"name": "tsc", "memory": "2MiB", "timeout": "10min"},
        "boot": {"mode": "real", "code": tsc.CODE.hex()},
    }
    (folder / "tsc.toml").write_text(tomli_w.dumps(guest))


def unpacked(spec: Path, *overrides: str) -> None:
    """Unpack the kernel into the cache, where the lab finds it."""
    Document.open(spec, overrides).plan()
