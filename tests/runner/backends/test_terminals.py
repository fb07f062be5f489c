"""vmrun in terminals: raw while the guest runs, restored after any end or stop, and a shell's job control."""

import fcntl
import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

import tracer

pytestmark = pytest.mark.kvm

ROOT = Path(__file__).parents[3]
VMRUN = [sys.executable, "-m", "runner.cli"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


class Terminal:
    """A command in the foreground of a terminal of its own."""

    def __init__(self, *arguments, **environment):
        # Open here too, the program's end keeps its mode when vmrun has gone.
        self.user, self.program = pty.openpty()
        self.before = termios.tcgetattr(self.program)
        self.seen = b""
        self.process = subprocess.Popen(
            list(map(str, arguments)), env=ENVIRONMENT | environment, stdin=self.program, stdout=self.program,
            stderr=self.program, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 (no threads)
        )  # fmt: skip

    def raw(self):
        return not termios.tcgetattr(self.program)[3] & (termios.ICANON | termios.ECHO)

    def restored(self):
        return termios.tcgetattr(self.program) == self.before

    @property
    def status(self):
        return self.process.poll()

    def read(self, text=None):
        """Wait for a text, or for vmrun to end."""
        latest = time.monotonic() + 60
        while (text is None and self.status is None) or (text is not None and text not in self.seen):
            assert time.monotonic() < latest, self.seen
            if select.select([self.user], [], [], 0.05)[0]:
                self.seen += os.read(self.user, 4096)
        return self.seen

    def type(self, data):
        os.write(self.user, data)

    def hang_up(self):
        if self.user >= 0:
            os.close(self.user)
            os.close(self.program)
        self.user = self.program = -1

    def await_(self, condition):
        """Wait until it holds; what is written meanwhile is read, as a terminal is."""
        latest = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < latest, self.seen
            if select.select([self.user], [], [], 0.02)[0]:
                self.seen += os.read(self.user, 4096)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.hang_up()


@pytest.fixture
def terminal():
    """Starts a vmrun in a terminal."""
    opened = []

    def run(*arguments):
        opened.append(Terminal(*VMRUN, *arguments))
        return opened[-1]

    yield run
    for each in opened:
        each.close()


@pytest.fixture
def echo(write_spec, assemble):
    """A guest that says "ready", then echoes each byte plus one, until a q."""
    code = assemble("""
        mov $0x3f8, %dx; mov $ready, %si; mov $6, %cx; cld; rep outsb
    1:  mov $0x3fd, %dx; in %dx, %al; test $1, %al; jz 1b
        mov $0x3f8, %dx; in %dx, %al; cmp $'q', %al; je 2f
        inc %al; out %al, %dx; jmp 1b
    2:  hlt
    ready: .ascii "ready\\n" """)
    return write_spec(code, devices=[{"kind": "serial"}], vm={"timeout": "30s"})


def test_the_terminal_is_raw_while_the_guest_runs(terminal, echo):
    vmrun = terminal(echo)
    vmrun.read(b"ready")
    assert vmrun.raw()


def test_what_is_typed_reaches_the_guest(terminal, echo):
    vmrun = terminal(echo)
    vmrun.read(b"ready")
    vmrun.type(b"\x03HAL")  # Ctrl-C is the guest's too
    vmrun.read(b"\x04IBM")
    vmrun.type(b"q")
    vmrun.read()
    assert (vmrun.status, vmrun.restored()) == (0, True)


def test_the_escape_ends_the_run(terminal, echo, tmp_path):
    vmrun = terminal(echo)
    vmrun.read(b"ready")
    vmrun.type(b"\x01x")
    vmrun.read()
    assert (vmrun.status, vmrun.restored(), tracer.load(tmp_path / "guest.arrow").complete) == (130, True, True)


def test_the_escape_has_help(terminal, echo):
    vmrun = terminal(echo)
    vmrun.read(b"ready")
    vmrun.type(b"\x01h")
    assert b"Ctrl-A x  end the run" in vmrun.read(b"send Ctrl-A to the guest")


def test_the_terminal_is_restored_after_a_timeout(terminal, echo):
    vmrun = terminal(echo, "--timeout", "500ms")
    vmrun.read()
    assert (vmrun.status, vmrun.restored()) == (5, True)


def test_the_terminal_is_restored_after_a_signal(terminal, echo):
    vmrun = terminal(echo)
    vmrun.read(b"ready")
    vmrun.process.terminate()
    vmrun.read()
    assert (vmrun.status, vmrun.restored()) == (130, True)


def test_a_terminal_that_closes_ends_the_run_in_order(terminal, echo, tmp_path):
    vmrun = terminal(echo)
    vmrun.read(b"ready")
    vmrun.hang_up()
    assert (vmrun.process.wait(60), tracer.load(tmp_path / "guest.arrow").complete) == (130, True)


# Signals that end the process


def signals(now, later):
    """Names of signals: those of each run of the tests, and those of the soak."""
    return [*now, *(pytest.param(name, marks=pytest.mark.soak) for name in later)]


@pytest.mark.parametrize(
    "name", signals(["SIGTERM", "SIGUSR1", "SIGIO"], ["SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGXCPU"])
)
def test_a_signal_ends_the_run_and_restores_the_terminal(terminal, echo, tmp_path, name):
    vmrun = terminal(echo)
    vmrun.read(b"ready")
    vmrun.process.send_signal(getattr(signal, name))
    vmrun.read()
    assert (vmrun.status, vmrun.restored(), tracer.load(tmp_path / "guest.arrow").complete) == (130, True, True)


@pytest.mark.parametrize(
    "name", signals(["SIGQUIT", "SIGABRT", "SIGSEGV"], ["SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS"])
)
def test_a_signal_that_kills_at_once_restores_the_terminal(terminal, echo, name):
    vmrun = terminal(echo)
    vmrun.read(b"ready")
    vmrun.process.send_signal(getattr(signal, name))
    vmrun.read()
    assert (vmrun.status, vmrun.restored()) == (-getattr(signal, name), True)


# Job control

PROMPT = b"shell> "


class Shell(Terminal):
    """Bash in a terminal, with job control."""

    def __init__(self):
        super().__init__("bash", "--norc", "--noprofile", "--noediting", "-i", PS1=PROMPT.decode())
        self.prompts = 0

    def line(self, text):
        """Type a line."""
        self.type(text.encode() + b"\n")

    def prompt(self):
        """Wait for the next prompt."""
        self.prompts += 1
        self.await_(lambda: self.seen.count(PROMPT) >= self.prompts)

    def after(self, text, expected):
        """Type a text, and wait for another after it."""
        begin = len(self.seen)
        self.type(text)
        self.await_(lambda: expected in self.seen[begin:])

    def child(self):
        """The id of the only job's process."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.await_(lambda: path.read_text().strip())
        return int(path.read_text())


@pytest.fixture
def shell():
    opened = Shell()
    opened.prompt()
    yield opened
    opened.close()


@pytest.fixture
def command(echo):
    return shlex.join([*VMRUN, str(echo)])


def test_a_stopped_run_gives_the_terminal_back_and_takes_it_again(shell, command):
    shell.line(command)
    shell.await_(lambda: b"ready\r\n" in shell.seen)
    child = shell.child()
    before = shell.before
    os.kill(child, signal.SIGTSTP)
    shell.prompt()
    assert (shell.raw(), b"Stopped" in shell.seen) == (False, True)
    shell.line("fg")
    shell.await_(shell.raw)
    shell.after(b"\x03HAL", b"\x04IBM")  # Ctrl-C is the guest's again
    shell.type(b"q")
    shell.prompt()
    shell.line("stty -a | grep -c ' icanon'; exit")
    shell.read()
    assert (b"halt after" in shell.seen, b"\r\n1\r\n" in shell.seen, before[3] & termios.ICANON) == (
        True,
        True,
        termios.ICANON,
    )


def test_a_run_that_was_stopped_for_good_measure(shell, command):
    """SIGSTOP, which a process cannot notice."""
    shell.line(command)
    shell.await_(lambda: b"ready\r\n" in shell.seen)
    os.kill(shell.child(), signal.SIGSTOP)
    shell.prompt()
    shell.line("fg")
    shell.await_(shell.raw)
    shell.after(b"HAL", b"IBM")


def test_a_run_in_the_background_gets_input_once_it_is_in_the_foreground(shell, command):
    shell.line(f"{command} &")
    shell.await_(lambda: b"ready\r\n" in shell.seen)
    assert not shell.raw()
    shell.line("fg")
    shell.await_(shell.raw)
    shell.after(b"HAL", b"IBM")
    shell.type(b"q")
    shell.await_(lambda: b"halt after" in shell.seen)


def test_a_stopped_run_goes_on_in_the_background_without_the_terminal(shell, command):
    shell.line(command)
    shell.await_(lambda: b"ready\r\n" in shell.seen)
    child = shell.child()
    os.kill(child, signal.SIGTSTP)
    shell.prompt()
    shell.line("bg")
    shell.prompt()
    shell.line("echo the shell has $((6 * 7))")
    shell.await_(lambda: b"the shell has 42" in shell.seen)
    shell.await_(lambda: Path(f"/proc/{child}/stat").read_text().split()[2] in "RS")
    assert not shell.raw()
    shell.line("fg")
    shell.await_(shell.raw)
    shell.after(b"HAL", b"IBM")


def test_a_run_that_ends_in_the_background_leaves_the_terminal_alone(shell, command):
    shell.line(f"{command} --timeout 500ms &")
    shell.await_(lambda: b"timeout after" in shell.seen)
    assert not shell.raw()
