"""Runs of vmrun in the lab (by inside/watched.py) and what each left behind, checked from outside."""

import gzip
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import tracer
from tests.guests import debian, initrd
from vmspec.document import Document
from vmspec.trace.record import REASONS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LINUX = ROOT / "examples" / "linux"

WATCHED = Path("/run/watched")  # where inside/watched.py has a run's files
LAB_FAILED = 125  # the lab's exit status when the emulated host crashed or stood still
STAYS = 3  # a stay that ended so is followed by another, for the runs that were not made


class Job(NamedTuple):
    """One run: ``arguments`` of vmrun; ``kill`` is when it is killed, seconds after the guest's start; with ``perf``,
    `perf kvm stat` counts beside. ``files`` are copied to :data:`WATCHED` before, by the names there. ``limit`` is the
    guest's, in seconds."""

    name: str
    arguments: Sequence[str]
    kill: float | None = None
    perf: bool = False
    files: Mapping[str, str | Path] = {}
    limit: int = 120


class Boot(NamedTuple):
    """One way to boot Linux. ``form``: "bzimage" (unpacked by vmrun), "bzimage-direct" (by itself), "vmlinux", "pvh" (a
    bzImage, entered by PVH). With ``tracepoints``, exits within the kernel are recorded too."""

    kernel: str  # as tests/guests/debian.py names it
    form: str
    vcpus: int
    memory: int  # MiB
    end: str = "reset"
    tracepoints: bool = False

    @property
    def name(self) -> str:
        return f"{self.kernel}-{self.form}-{self.vcpus}-{self.memory}MiB-{self.end}"

    def job(self, kill: float | None = None, name: str | None = None) -> Job:
        kernel = debian.kernel(self.kernel)
        image = debian.vmlinux(kernel) if self.form == "vmlinux" else kernel.bzimage
        spec = LINUX / "linux.toml"
        sets = [
            f"boot.kernel={image}",
            f"boot.unpack={'false' if self.form == 'bzimage-direct' else 'true'}",
            f"boot.cmdline=console=ttyS0 panic=-1 reboot=k vmrun.end={self.end}",
            f"vm.vcpus={self.vcpus}",
            f"vm.memory={self.memory}MiB",
            f'expect.exit=["{self.end}"]',
        ]
        if self.end not in ("reset", "poweroff"):
            sets.pop()
        if self.form == "pvh":
            sets.append('boot.protocol="pvh"')
        if self.tracepoints:
            sets.append('trace.tracepoints="required"')
        Document.open(spec, tuple(sets)).plan()  # unpacks the kernel into the cache, where the lab finds it
        return Job(name or self.name, [str(spec), *(word for each in sets for word in ("--set", each))], kill)


# Two kernels and forms, one vCPU and two, little memory and some past the hole below 4 GiB, and each end. The guest of
# virtio() on MMIO is a bzImage that unpacks itself; the generic kernel and four vCPUs are in MATRIX.
SAMPLE = (
    Boot("6.1-cloud", "bzimage", 2, 256, tracepoints=True),
    Boot("6.12-cloud", "vmlinux", 1, 4096, "poweroff"),
)
# Boots on the Intel host.
INTEL = (Boot("6.1-cloud", "vmlinux", 1, 192), Boot("6.1-cloud", "vmlinux", 2, 192, "poweroff", tracepoints=True))
# The boot with tracepoints of each group.
TRACED = {
    group: next(boot for boot in boots if boot.tracepoints) for group, boots in (("sample", SAMPLE), ("intel", INTEL))
}
KERNELS = ("6.1-cloud", "6.12-cloud", "6.1-generic")
MATRIX = tuple(
    Boot(kernel, form, vcpus, memory, "poweroff" if vcpus == 2 else "reset")
    for kernel in KERNELS
    for form in ("bzimage", "vmlinux")
    for vcpus in (1, 2, 4)
    for memory in (128, 512, 4096)
)
PVH = tuple(Boot(kernel, "pvh", 2, 512, "poweroff") for kernel in KERNELS)
KILLS = {"sample": 1, "kills": 20}
TRANSPORTS = ("mmio", "pci")
RESETS = 100  # as in resets.toml
DRIVERS = ("virtio_mmio", "virtio_pci", "virtio_rng")
LATER = ("virtio_console", "virtio_balloon", "virtio_blk", "crc32c_generic", "ext4")  # once the first have been tried
PMEM = ("virtio_pmem", "nd_pmem", "crc32c_generic", "ext4")
IMAGE_FILE = random.Random(11).randbytes(2_000_003)
DISKS = ("rw", "overlay", "ro")  # the disks of virtio.toml, by their modes
DISK = random.Random(1).randbytes(4 << 20)  # what each has at first


def jobs(group: str) -> list[Job]:
    """What is run in one stay in the lab."""
    match group:
        case "sample":
            flood = Job("flood", [str(HERE / "flood.toml")])
            return [
                *(boot.job()._replace(perf=boot.tracepoints) for boot in SAMPLE),
                flood,
                *map(virtio, TRANSPORTS),
                *kills(KILLS[group]),
            ]
        case "kills":
            return kills(KILLS[group])
        case "resets-mmio" | "resets-pci":
            return [resets(group.removeprefix("resets-"))]
        case "intel":
            return [boot.job() for boot in INTEL]
        case "pvh":
            return [boot.job() for boot in PVH]
        case kernel:
            return [boot.job() for boot in MATRIX if boot.kernel == kernel]


def kills(number: int) -> list[Job]:
    """Boots killed at random moments; the guest halts at its end, so that vmrun does not end by itself before."""
    boot = Boot("6.1-cloud", "bzimage", 2, 256, "halt")
    return [boot.job(random.uniform(0, 10), f"kill-{index}") for index in range(number)]


def virtio(transport: str) -> Job:
    """A guest that tries its virtio devices with Debian's own drivers, by a transport."""
    kernel = debian.kernel("6.1-cloud")
    files = {f"{mode}.img": kernel.bzimage.with_name(f"virtio-{mode}.img") for mode in DISKS}
    for image in files.values():
        _keep(image, DISK)
    sets = [
        f"boot.kernel={kernel.bzimage}",
        f"boot.initrd={_virtio_initrd(kernel)}",
        f"boot.unpack={'false' if transport == 'mmio' else 'true'}",
        f"vm.transport={transport}",
    ]
    spec = HERE / "virtio.toml"
    paths = [f"device[{number}].path=" for number in range(7, 7 + len(DISKS))]
    here = (path + str(image) for path, image in zip(paths, files.values(), strict=True))
    Document.open(spec, (*sets, *here)).plan()  # unpacks the kernel into the cache, where the lab finds it
    sets += [path + str(WATCHED / name) for path, name in zip(paths, files, strict=True)]
    arguments = [str(spec), *(word for each in sets for word in ("--set", each))]
    return Job(f"virtio-{transport}", arguments, files=files, limit=240)  # a minute, on a machine that is not busy


def resets(transport: str) -> Job:
    """A guest that mounts an image in its memory, then resets each virtio device in the middle of its traffic."""
    kernel = debian.kernel("6.1-cloud")
    modules = debian.modules(kernel, (*DRIVERS, "virtio_console", "virtio_balloon", *PMEM))
    entries = initrd.busybox((HERE / "resets-init").read_bytes())
    entries["modules/list"] = initrd.regular(" ".join(modules).encode())
    for name, image in modules.items():
        entries[f"modules/{name}.ko"] = initrd.regular(debian.unsigned(image))
    archive = kernel.bzimage.with_name("resets-initrd.img")
    _keep(archive, gzip.compress(initrd.archive(entries), mtime=0))
    sets = [
        f"boot.kernel={kernel.bzimage}",
        f"boot.initrd={archive}",
        f"device[7].path={_image(kernel)}",
        f"vm.transport={transport}",
    ]
    spec = HERE / "resets.toml"
    Document.open(spec, sets).plan()  # unpacks the kernel into the cache, where the lab finds it
    return Job("resets", [str(spec), *(word for each in sets for word in ("--set", each))], limit=900)


def _image(kernel: debian.Kernel) -> Path:
    """An ext4 file system with a file, kept beside the kernel. Its size is no multiple of anything that Linux maps."""
    path = kernel.bzimage.with_name("resets-image.img")
    if path.exists():
        return path
    with TemporaryDirectory() as scratch:
        Path(scratch, "file").write_bytes(IMAGE_FILE)
        part = path.with_suffix(f".{os.getpid()}")
        make = [debian.program("mke2fs", "e2fsprogs"), "-q", "-t", "ext4", "-b", "4096", "-d", scratch]
        subprocess.run([*make, part, "4100"], check=True)
    part.replace(path)
    return path


def _virtio_initrd(kernel: debian.Kernel) -> Path:
    """Busybox, the drivers in the order in which to load them, and an init that uses them; kept beside the kernel."""
    modules = debian.modules(kernel, DRIVERS)
    first = list(modules)
    modules |= debian.modules(kernel, LATER)
    entries = initrd.busybox((HERE / "virtio-init").read_bytes())
    entries["modules/list"] = initrd.regular(" ".join(first).encode())
    entries["modules/later"] = initrd.regular(" ".join(name for name in modules if name not in first).encode())
    for name, image in modules.items():
        entries[f"modules/{name}.ko"] = initrd.regular(debian.unsigned(image))
    entries |= initrd.program(debian.program("mke2fs", "e2fsprogs"))
    path = kernel.bzimage.with_name("virtio-initrd.img")
    _keep(path, gzip.compress(initrd.archive(entries), mtime=0))
    return path


def _keep(path: Path, content: bytes) -> None:
    part = path.with_suffix(f".{os.getpid()}")
    part.write_bytes(content)
    part.replace(path)


def prepared(example: Path, folder: Path, arguments: str = "") -> None:
    """Have an example put what its specs name into a folder, in a process of its own: each has a module prepare.
    ``arguments`` are Python's text."""
    code = f"import sys; from pathlib import Path; sys.path[:0] = [{str(ROOT)!r}, {str(example)!r}]; "
    code += f"import prepare; prepare.prepare(Path({str(folder)!r}), {arguments})"
    subprocess.run([sys.executable, "-c", code], check=True)


def repeat_example(folder: Path, kernel: str, name: str = "repeat") -> Path:
    """A spec of the example repeat, ready in a folder with a kernel of Debian's."""
    example = ROOT / "examples" / "repeat"
    shutil.copy(example / f"{name}.toml", folder)
    prepared(example, folder, repr(kernel))
    Document.open(folder / f"{name}.toml").plan()  # unpacks the kernel into the cache, where the lab finds it
    return folder / f"{name}.toml"


def options(group: str, todo: list[Job]) -> list[str | Path]:
    """The lab's options for these runs; ``--take`` names files outside the checkout for the Intel host."""
    if group != "intel":
        limits = [job.limit for job in todo]
        return ["--timeout", f"{120 + sum(limits)}s"]
    kernels = {debian.vmlinux(debian.kernel(boot.kernel)) for boot in INTEL}
    return ["--host", "intel", "--timeout", "1h", *(word for path in kernels for word in ("--take", path))]


def stayed(*arguments: str | Path) -> str:
    """What a command printed in a stay in the lab with these options, or in another if its host failed. It must end
    with 0."""
    for _ in range(STAYS):
        done = subprocess.run([HERE / "lab", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != LAB_FAILED:
            break
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return done.stdout


def userspace(console: bytes) -> str:
    """A console without the kernel's lines, which begin with a time. They may come between any two characters of what
    userspace prints; they themselves are whole."""
    return re.sub(r"\[ *\d+\.\d{6}\] [^\n]*\n", "", console.decode(errors="replace").replace("\r", ""))


class Run:
    """What one run left: ``status`` as Popen has it, ``console`` and ``log`` (what vmrun said), the files of the trace.

    ``exits`` are the kernel's counts of returns from KVM_RUN by reason, ``failed`` those of returns with an error, each
    by thread, for the threads that had any return.
    """

    def __init__(self, directory: Path) -> None:
        result = json.loads((directory / "result.json").read_text())
        self.status: int = result["status"]
        self.console = (directory / "console").read_bytes()
        self.log = (directory / "log").read_text()
        self.perf = (directory / "perf.txt").read_text() if (directory / "perf.txt").exists() else ""
        self.path = directory / "trace.arrow"
        self.exits: dict[int, Counter[str]] = {thread: Counter() for thread, *_ in result["returns"]}
        self.failed: Counter[int] = Counter()
        for thread, reason, error, count in result["returns"]:
            if error:
                self.failed[thread] += count
            else:
                self.exits[thread][REASONS[reason]] += count
        self.userspace = userspace(self.console)

    @cached_property
    def trace(self) -> tracer.Trace:
        return tracer.load(self.path)


class Flat:
    """What a small guest of flatguests.py left: how it ended, its console, its crash report, its trace."""

    def __init__(self, directory: Path) -> None:
        self.result = json.loads((directory / "result.json").read_text())
        report = directory / "trace.crash.txt"
        self.report = report.read_text() if report.exists() else ""
        self.path = directory / "trace.arrow"

    @cached_property
    def trace(self) -> tracer.Trace:
        return tracer.load(self.path)


class Lab:
    """Stays in the lab, each made when a run of it is first asked for."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._failures: dict[str, str] = {}
        self._printed: dict[str, str] = {}

    def flat(self, host: str, name: str) -> Flat:
        """A small guest's run on a host. AMD's are made in the stay of tests/lab/beside.py."""
        if host == "amd":
            return Flat(self.beside("flat") / name)
        self.printed(host)
        return Flat(self._directory / "flat" / name)

    def printed(self, host: str) -> str:
        """What the command of a host's small guests printed."""
        if host == "amd":
            self.beside("flat")
            return self._stayed("beside")
        return self._stayed("flat", "--host", host, "--timeout", "20m")

    def beside(self, name: str) -> Path:
        """The folder of a guest of tests/lab/beside.py."""
        from tests.lab import beside

        out = self._directory / "beside"
        if not out.exists():
            beside.prepare(out)
        with suppress(AssertionError):  # a folder that is done is good, whatever came later
            self._stayed("beside", "--timeout", "20m")
        assert (out / name / "done").exists(), self._failures["beside"]
        return out / name

    def _stayed(self, name: str, *options: str) -> str:
        """What a program of tests/lab/inside printed, in a stay made once; it leaves its files in a folder of its
        name."""
        out = self._directory / name
        out.mkdir(exist_ok=True)
        if name not in self._printed and name not in self._failures:
            command = (sys.executable, HERE / "inside" / f"{name}.py", out)
            try:
                self._printed[name] = stayed(*options, "--share", out, "--", *command)
            except AssertionError as failure:
                self._failures[name] = str(failure)
        assert name in self._printed, self._failures[name]
        return self._printed[name]

    def run(self, group: str, name: str) -> Run:
        """One run of a group of jobs."""
        out = self._directory / group
        if not out.exists():
            out.mkdir()
            self._stay(group, out)
        assert (out / name / "result.json").exists(), self._failures.get(group, f"{name} was not run")
        return Run(out / name)

    def _stay(self, group: str, out: Path) -> None:
        subprocess.run([sys.executable, LINUX / "prepare.py"], check=True, capture_output=True)
        todo = jobs(group)
        for _ in range(STAYS):
            (out / "jobs.json").write_text(json.dumps([job._asdict() for job in todo], default=str))
            lab = [HERE / "lab", *options(group, todo), "--share", out, "--"]
            command = [sys.executable, HERE / "inside" / "watched.py", out / "jobs.json", out]
            done = subprocess.run([*lab, *command], cwd=ROOT, capture_output=True, text=True, check=False)
            if not done.returncode:
                return
            self._failures[group] = f"the lab ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            todo = [job for job in todo if not (out / job.name / "result.json").exists()]
            if done.returncode != LAB_FAILED or not todo:
                return
