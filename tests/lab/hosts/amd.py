"""The AMD host: QEMU's TCG emulates SVM with nested paging, and the host's files are this machine's, by 9p."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

from tests.lab.hosts.channel import Channel, raw_terminal, write
from tests.lab.hosts.host import GRACE, STOP, Host
from tests.lab.hosts.job import LAB_FAILED, Job, debian

MODULES = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay", "kvm", "kvm-amd", "tun", "vhost_net")
# TCG's time stamp counters agree, but its CPUID does not say so, and Linux would use the slow HPET.
CMDLINE = "console=ttyS0 quiet panic=-1 reboot=t mitigations=off tsc=reliable"
QEMU = "qemu-system-x86_64"


class Amd(Host):
    """QEMU, with a virtio port for each stream."""

    kernel, memory, smp, silence = "6.1-generic", "2GiB", 2, 60

    @staticmethod
    def prepare(kernel: str) -> None:
        """Raises DebianError."""
        debian.programs({QEMU: "qemu-system-x86", "setpriv": "util-linux"})
        debian.kernel(kernel)
        debian.busybox()

    def __init__(self, job: Job, *, terminal: bool) -> None:
        super().__init__(job, terminal=terminal)
        self._stack = contextlib.ExitStack()
        # The ports are set up in this order: when init can use the last one, control, it can use all.
        self._console = Channel("console")
        self._streams = {name: Channel(name) for name in (("terminal",) if terminal else ("stdin", "stdout", "stderr"))}
        self.control = Channel("control")
        channels = [self._console, *self._streams.values(), self.control]
        archive = job.archive(
            "amd",
            MODULES,
            # Never on CPU 0. QEMU's cpu_clear_ignne(), part of every FXRSTOR and XRSTOR on any CPU, rewrites hflags2 of
            # the first CPU, and not atomically: a VMRUN or #VMEXIT there can lose its switch of nested paging, after
            # which the guest triple-faults or hangs, or the emulated host does. QEMU 7.2 to 10.0, at least, have this.
            first=[f"taskset -p -c 1-{job.smp} $$ >/dev/null || exit {LAB_FAILED}"],
            settings=[f"timeout={int(job.timeout) + GRACE}"],
            terminal=terminal,
        )
        archive_fd = os.memfd_create("initramfs", 0)
        write(archive_fd, archive)
        try:
            self._console.pass_on(self.log.fd)
            command = self._command(job, archive_fd, channels, terminal=terminal)
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self.log.fd, stderr=self.log.fd,
                pass_fds=[archive_fd, *(channel.theirs for channel in channels)],
            )  # fmt: skip
        finally:
            os.close(archive_fd)
        self._channels = channels
        for channel in channels:
            channel.started()
        self.control.send(b"go\n")

    def _command(self, job: Job, archive_fd: int, channels: list[Channel], *, terminal: bool) -> list[str]:
        """QEMU's command line. The first channel is the serial console, the others virtio ports named like them."""
        command = [
            *("setpriv", "--pdeathsig", "KILL", "--", QEMU),
            *("-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"),
            *("-smp", str(job.smp + 1), "-m", str(job.memory)),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-kernel", str(debian.kernel(job.kernel).bzimage), "-initrd", f"/proc/self/fd/{archive_fd}"),
            *("-append", CMDLINE, "-device", "virtio-serial-pci"),
        ]
        for number, channel in enumerate(channels):
            command += ["-chardev", f"socket,id={channel.name},fd={channel.theirs}"]
            device = "virtconsole,nr=0" if terminal and channel.name == "terminal" else f"virtserialport,nr={number}"
            if number == 0:
                command += ["-serial", f"chardev:{channel.name}"]
            else:
                command += ["-device", f"{device},chardev={channel.name},name={channel.name}"]
        for tag, path, access in (("root", Path("/"), ",readonly=on,multidevs=remap"), ("share", job.share, "")):
            if path:
                escaped = str(path).replace(",", ",,")
                command += ["-virtfs", f"local,path={escaped},mount_tag={tag},security_model=none{access}"]
        return command

    def began(self) -> None:
        if terminal := self._streams.get("terminal"):
            self._stack.enter_context(raw_terminal())
            terminal.pass_on(1)
            terminal.feed(0, stop=STOP)
            return
        self._streams["stdout"].pass_on(1)
        self._streams["stderr"].pass_on(2)
        self._streams["stdin"].feed(0)

    def alive(self, *progress: int) -> None:
        """Streams come by themselves."""

    def complete(self, *written: int) -> None:
        for name, count in zip(("stdout", "stderr"), written, strict=False):
            self._streams[name].wait(count)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for channel in self._channels:
            channel.finish()
        self._stack.close()
