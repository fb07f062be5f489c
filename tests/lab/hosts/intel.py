"""The Intel host: Bochs emulates VMX with EPT, and the host has copies of this machine's files, on a disk."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import struct
import subprocess
import tarfile
import tempfile
import threading
from pathlib import Path

from tests.lab.hosts import image
from tests.lab.hosts.channel import Console, Line, raw_terminal, read, write
from tests.lab.hosts.host import STOP, Host
from tests.lab.hosts.job import Job, LabError, debian

MODULES = ("irqbypass", "kvm", "kvm-intel", "ata_piix", "sd_mod", "isofs", "overlay", "tun", "vhost_net")
# Without what costs minutes of emulated time: 9600 baud, self-tests, a random place in memory.
CMDLINE = (
    "console=ttyS0,115200 quiet panic=-1 mitigations=off nokaslr cryptomgr.notests apparmor=0 audit=0 tsc=reliable"
)
BOCHS = "/usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_term_gui.so"
BIOS, VGA_BIOS = "/usr/share/bochs/BIOS-bochs-latest", "/usr/share/bochs/VGABIOS-lgpl-latest"
LOADER = ("/usr/lib/ISOLINUX/isolinux.bin", "/usr/lib/syslinux/modules/bios/ldlinux.c32")
PACKAGES = {
    "bochs": "bochs", BOCHS: "bochs-term", BIOS: "bochsbios", VGA_BIOS: "vgabios", LOADER[0]: "isolinux",
    LOADER[1]: "syslinux-common", "xorriso": "xorriso", "setpriv": "util-linux",
}  # fmt: skip
# Instructions that the emulated host takes for a second: ten times what Bochs does in one. Of fewer, time limits within
# would be too short; of more, busy waiting too long.
IPS = 400_000_000
BOCHSRC = """\
plugin_ctrl: unmapped=1, biosdev=1, speaker=0, extfpuirq=1, parallel=0, serial=1, gameport=0, iodebug=0
config_interface: textconfig
display_library: term
memory: guest={memory}, host={memory}
romimage: file={bios}
vgaromimage: file={vga_bios}
boot: cdrom
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15
ata0-master: type=disk, path={machine}, mode=flat
ata0-slave: type=disk, path={results}, mode=flat
ata1-master: type=cdrom, path={machine}, status=inserted
pci: enabled=1, chipset=i440fx
vga: extension=none, update_freq=1
cpu: model=corei7_haswell_4770, count={smp}, ips={ips}, reset_on_triple_fault=0, ignore_bad_msrs=1
clock: sync={sync}, time0=utc, rtc_sync=0
log: {log}
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
com1: enabled=1, mode=file, dev={console}
com2: enabled=1, mode=term, dev={control}
"""

CYLINDER = 16 * 63 * 512  # bytes; Bochs takes a disk to be a whole number of them
SECTOR = 512
STREAMS = (1 << 30) // CYLINDER * CYLINDER  # bytes of a stream's partition
SHARE = 4 * STREAMS
PIECE = 512  # bytes of standard input that are sent at once


class Intel(Host):
    """Bochs. Streams come by the partitions of a disk, as its serial lines have the speed of serial lines."""

    # A second of it takes a quarter of a minute, and minutes beside other work.
    kernel, memory, smp, silence = "6.1-cloud", "768MiB", 1, 600

    @staticmethod
    def prepare(kernel: str) -> None:
        """Raises DebianError."""
        debian.programs(PACKAGES)
        debian.kernel(kernel)
        debian.busybox()

    def __init__(self, job: Job, *, terminal: bool) -> None:
        super().__init__(job, terminal=terminal)
        self._job = job
        self._stack = contextlib.ExitStack()
        self._passed = [0, 0]
        self.control = Line("control")
        self._terminal = Line("terminal") if terminal else None
        self._bochs_log = Console()
        machine, self._results = (tempfile.TemporaryFile(buffering=0) for _ in range(2))  # noqa: SIM115 - close() does
        for file in (machine, self._results):
            self._stack.callback(file.close)
        kernel = debian.kernel(job.kernel)
        boot = [
            *((Path(path).name, Path(path)) for path in LOADER),
            ("vmlinuz", kernel.bzimage),
            ("initrd.img", job.archive("intel", MODULES, terminal=terminal)),
            ("isolinux.cfg", b"default l\nprompt 0\nlabel l\n kernel vmlinuz\n initrd initrd.img\n append %s\n"
             % CMDLINE.encode()),
        ]  # fmt: skip
        image.write(machine.fileno(), boot, image.contents(job))
        os.ftruncate(machine.fileno(), -(-os.fstat(machine.fileno()).st_size // CYLINDER) * CYLINDER)
        os.pwrite(self._results.fileno(), partitions(), 0)
        os.ftruncate(self._results.fileno(), CYLINDER + 2 * STREAMS + SHARE)
        self._start(job, machine.fileno())

    def _start(self, job: Job, machine: int) -> None:
        passed = [machine, self._results.fileno(), self.log.fd, self._bochs_log.fd]
        names = dict(
            zip(("machine", "results", "console", "log"), (f"/proc/self/fd/{fd}" for fd in passed), strict=True)
        )
        text = BOCHSRC.format(
            **names, memory=job.memory, smp=job.smp, ips=IPS, bios=BIOS, vga_bios=VGA_BIOS,
            control=self.control.path, sync="slowdown" if self._terminal else "none",
        )  # fmt: skip
        if self._terminal:
            text += f"com3: enabled=1, mode=term, dev={self._terminal.path}\n"
        # Debian's Bochs is a debugger, whose first command starts the emulated machine.
        files = [memory_file(content.encode()) for content in (text, "c\n")]
        screen, theirs = pty.openpty()
        threading.Thread(target=discard, args=(screen,), daemon=True).start()
        rc, go = (f"/proc/self/fd/{fd}" for fd in files)
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", "bochs", "-q", "-unlock", "-rc", go, "-f", rc],
            stdin=theirs, stdout=theirs, stderr=theirs, pass_fds=[*passed, *files],
            env={**os.environ, "TERM": "xterm"}, start_new_session=True,
        )  # fmt: skip
        for fd in (theirs, *files):
            os.close(fd)

    def began(self) -> None:
        self.control.started()
        if self._terminal:
            self._terminal.started()
            self._stack.enter_context(raw_terminal())
            self._terminal.pass_on(1)
            self._terminal.feed(0, stop=STOP)
        else:
            threading.Thread(target=self._feed, daemon=True).start()

    def _feed(self) -> None:
        """Send standard input in pieces, each after its length; the last is empty."""
        with contextlib.suppress(OSError):
            data = b"."
            while data:
                data = os.read(0, PIECE)
                self.control.send(b"%d\n" % len(data) + data)

    def alive(self, *progress: int) -> None:
        for stream, written in enumerate(progress[:2]):
            self._pass_on(stream, written)

    def _pass_on(self, stream: int, written: int) -> None:
        """Print what is new of a stream."""
        start = CYLINDER + stream * STREAMS
        while self._passed[stream] < min(written, STREAMS):
            length = min(written - self._passed[stream], 1 << 20)
            data = os.pread(self._results.fileno(), length, start + self._passed[stream])
            write(stream + 1, data)
            self._passed[stream] += len(data)

    def complete(self, *written: int) -> None:
        self.alive(*written)
        if self._job.share is None:
            return
        self._results.seek(CYLINDER + 2 * STREAMS)
        try:
            with tarfile.open(fileobj=io.BufferedReader(self._results, 1 << 20), mode="r|") as archive:
                archive.extraction_filter = making_place
                archive.extractall(self._job.share)
        except tarfile.TarError as error:
            raise LabError(f"lab: {self._job.share} did not come back whole: {error}") from error

    def explain(self, problem: str) -> str:
        said = self._bochs_log.tail()
        return super().explain(problem) + (f"\nBochs says:\n{said}" if said else "")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for line in filter(None, (self.control, self._terminal)):
            line.finish()
        self._stack.close()


def making_place(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    """What of an archive goes into a folder. A link that is there makes place for its copy: Python's own filter would
    follow one that leads out of the folder, and refuse it. So does a pipe, which is made only where nothing is."""
    there = Path(folder, member.name)
    if (member.issym() and there.is_symlink()) or (member.isfifo() and there.is_fifo()):
        there.unlink()
    # Debian 12's own Python is older than these filters (tarfile, "Supporting older Python versions").
    kept: tarfile.TarInfo = getattr(tarfile, "tar_filter", lambda member, path: member)(member, folder)
    return kept


def partitions() -> bytes:
    """A master boot record with three partitions: standard output, standard error, the shared directory's archive."""
    starts = [CYLINDER, CYLINDER + STREAMS, CYLINDER + 2 * STREAMS]
    table = b"".join(
        struct.pack("<B3sB3sII", 0, b"\0\0\0", 0x83, b"\0\0\0", start // SECTOR, length // SECTOR)
        for start, length in zip(starts, (STREAMS, STREAMS, SHARE), strict=True)
    )
    return bytes(446) + table + bytes(16) + b"\x55\xaa"


def memory_file(content: bytes) -> int:
    fd = os.memfd_create("lab")
    write(fd, content)
    return fd


def discard(fd: int) -> None:
    """Read what Bochs shows of the emulated screen, so that it is never held up."""
    while read(fd):
        pass
