"""virtio beside QEMU (microvm for MMIO, q35 for PCI) and, if it is installed, kvmtool: a disk's queue on this host's
KVM, then disks and networks of a Linux guest in the lab, with the same kernel, initrd, image and depth."""

import gzip
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench import flatdisk
from tests.bench.figure import Figure
from tests.bench.invirtio import MACHINES, MEASURES, VARIANTS
from tests.guests import debian, initrd

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
DRIVERS = ("virtio_mmio", "virtio_pci", "virtio_blk", "virtio_net")
ROUNDS = 4


def prepare(folder: Path) -> None:
    """The kernel, and an initrd whose first process is traffic.c."""
    subprocess.run(["cc", "-O2", "-static", "-pthread", "-o", folder / "traffic", HERE / "traffic.c"], check=True)
    kernel = debian.kernel("6.1-cloud")
    modules = debian.modules(kernel, DRIVERS)
    entries = {
        "dev/console": initrd.character_device(5, 1),
        "init": initrd.executable((folder / "traffic").read_bytes()),
        "modules/list": initrd.regular(" ".join(modules).encode()),
    }
    for name, image in modules.items():
        entries[f"modules/{name}.ko"] = initrd.regular(debian.unsigned(image))
    (folder / "vmlinuz").write_bytes(kernel.bzimage.read_bytes())
    (folder / "initrd.img").write_bytes(gzip.compress(initrd.archive(entries), mtime=0))


def measure() -> list[Figure]:
    """On this host, then in the lab."""
    return [*flatdisk.measure(), *in_lab()]


def in_lab() -> list[Figure]:
    """Rates, and vmrun's share of its peers' time and CPU an operation: medians of rounds within one lab."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        lab = [ROOT / "tests" / "lab" / "lab", "--memory", "4GiB", "--timeout", "1200s", "--share", folder, "--"]
        command = [sys.executable, "-m", "tests.bench.invirtio", folder, str(ROUNDS)]
        subprocess.run([*lab, *command], check=True, stdin=subprocess.DEVNULL, cwd=ROOT)
        found = json.loads((folder / "virtio.json").read_text())
    return [figure for transport in MACHINES for what in MEASURES for figure in compared(found, transport, what)]


def compared(found: dict[str, dict[str, list[list[float]]]], transport: str, what: str) -> list[Figure]:
    """One measure by one transport: the rates, then the ratios."""
    figures = []
    rounds = {name: measures[what] for name, measures in found.items() if measures[what]}
    columns = {name: zip(*each, strict=True) for name, each in rounds.items() if name.startswith(f"{transport}: ")}
    for name, (rates, bandwidths, cpu) in columns.items():
        small = what.startswith(("random", "round"))
        rate = statistics.median(rates) if small else statistics.median(bandwidths) / 1e6
        figures.append(Figure(f"{what}, {name}", rate, "1/s" if small else "MB/s"))
        figures.append(Figure(f"{what}, {name}: CPU", statistics.median(cpu) * 1e6, "us"))
    for variant in VARIANTS:
        for peer in ("QEMU", "kvmtool"):
            ours, theirs = rounds.get(f"{transport}: {variant}"), rounds.get(f"{transport}: {peer}")
            if not ours or not theirs:
                continue
            name = f"{what}, {transport}: {variant} / {peer}"
            times = [their[1] / our[1] for our, their in zip(ours, theirs, strict=False)]
            cpu = [our[2] / their[2] for our, their in zip(ours, theirs, strict=False)]
            figures.append(Figure(f"{name}, time", statistics.median(times), "ratio", 1))
            figures.append(Figure(f"{name}, CPU", statistics.median(cpu), "ratio", 1))
    return figures
