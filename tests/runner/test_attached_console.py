"""Consoles of clients: small guests on the host's KVM that print, and that echo what is typed."""

import contextlib
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time

import pytest

import runner
from runner.control import consoles
from runner.control.consoles import MOST
from runner.control.errors import ControlError
from tests.fakes.processes import eventually

pytestmark = pytest.mark.kvm

# Sends back each byte that COM1 receives; "q" ends it.
ECHO = """
1:  mov $0x3fd, %dx
    in %dx, %al
    test $1, %al
    jz 1b
    mov $0x3f8, %dx
    in %dx, %al
    out %al, %dx
    cmp $'q', %al
    jne 1b
    hlt
"""
# Prints without end.
FLOOD = """
    mov $0x3f8, %dx
1:  mov $0x8000, %si
    mov $0x4000, %cx
    rep outsb
    jmp 1b
"""
BEHIND = 1 << 14
VMRUN = [sys.executable, "-c", "import sys; from runner.entry import main; sys.exit(main())"]


@pytest.fixture(autouse=True)
def sockets(tmp_path, monkeypatch):
    """The folder of the sockets, of this test only."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def guest(tmp_path, assemble):
    """Writes the spec of a guest."""

    def write(code, devices='[[device]]\nkind = "serial"\ninput = "none"\n', vm=""):
        path = tmp_path / "guest.toml"
        text = f'[vm]\nname = "guest"\nmemory = "1MiB"\nirqchip = "none"\ntimeout = "60s"\n{vm}[boot]\nmode = "real"\n'
        path.write_text(f'{text}code = "{assemble(code).hex()}"\n{devices}')
        return path

    return write


def read(end, size):
    """So many bytes of a socket, or fewer if it ends."""
    data = b""
    while len(data) < size and (more := end.recv(size - len(data))):
        data += more
    return data


def _attached(run):
    """The run's side of the one console. The answer may be here before the loop has gone on to attach it."""
    eventually(lambda: run._session.clients.consoles._attached, "it is not attached")
    return run._session.clients.consoles._attached[0]


def test_what_is_typed_reaches_the_guest_and_what_it_prints_all_readers(guest):
    with runner.start(guest(ECHO), control="guest") as run:
        typing = runner.connect("guest").console()
        reading = runner.connect("guest").console(types=False)
        late = runner.connect("guest").console()
        assert (typing.port, typing.reads_only) == ("serial0", "")
        assert (reading.reads_only, late.reads_only) == ("it was not asked for", "another console types")
        with typing.socket, reading.socket, late.socket:
            typing.socket.sendall(b"hello")
            assert [read(each.socket, 5) for each in (typing, reading, late)] == [b"hello"] * 3
            reading.socket.sendall(b"dropped")
            after = runner.connect("guest").console("serial0", types=False)  # gets what was printed
            with after.socket:
                assert after.first + read(after.socket, 5 - len(after.first)) == b"hello"
            typing.socket.sendall(b"q")
            assert [read(each.socket, 9) for each in (typing, reading, late)] == [b"q"] * 3  # and then its end
        result = run.result(20)
    assert (result.kind, result.console) == ("halt", b"helloq")


def test_the_next_one_can_type_once_the_first_has_left(guest):
    with runner.start(guest(ECHO), control="guest") as run:
        for letter in (b"a", b"b"):
            console = runner.connect("guest").console()
            assert console.reads_only == ""
            with console.socket:
                console.socket.sendall(letter)
                eventually(lambda letter=letter: letter in run._session.console.text(), "it is not echoed")
            eventually(lambda: not run._session.clients.consoles._attached, "it is still attached")
        console = runner.connect("guest").console()
        with console.socket:
            console.socket.sendall(b"q")
            result = run.result(20)
    assert result.console == b"abq"


def test_one_that_leaves_is_noticed_although_the_guest_takes_nothing(guest):
    with runner.start(guest("1: jmp 1b"), control="guest") as run:
        console = runner.connect("guest").console()
        with console.socket:
            _attached(run)
            console.socket.sendall(b"x" * 5000)
        eventually(lambda: not run._session.clients.consoles._attached, "it is still attached")
        run.stop()
        assert run.result(20).kind == "interrupted"


def test_there_are_sixteen_at_most(guest):
    with runner.start(guest("1: jmp 1b"), control="guest") as run, contextlib.ExitStack() as stack:
        for number in range(MOST):
            stack.enter_context(runner.connect("guest").console().socket)
            eventually(
                lambda number=number: len(run._session.clients.consoles._attached) == number + 1, "it is not attached"
            )
        with runner.connect("guest") as control, pytest.raises(ControlError, match="16 consoles are attached already"):
            control.console()
        run.stop()


def test_the_runs_own_input_takes_precedence(guest):
    source, sink = os.pipe()
    devices = '[[device]]\nkind = "serial"\n'
    with runner.start(guest(ECHO, devices), control="guest", input=source) as run:
        console = runner.connect("guest").console()
        assert console.reads_only == "its input comes from stdin"
        console.socket.close()
        os.close(sink)  # from now on it may type
        eventually(lambda: not run._session.ends.is_read((0, 0)), "its input has not ended")
        console = runner.connect("guest").console()
        assert console.reads_only == ""
        with console.socket:
            console.socket.sendall(b"q")
            assert run.result(20).console == b"q"
    os.close(source)


def test_ports_that_there_are_not_and_those_without_input(guest):
    with runner.start(guest(f"out %al, $0xe9\n{ECHO}", '[[device]]\nkind = "debug-port"\n'), control="guest") as run:
        with (
            runner.connect("guest") as control,
            pytest.raises(ControlError, match=r"there is no console 'com9': there are debug-port0"),
        ):
            control.console("com9")
        console = runner.connect("guest").console()
        console.socket.close()
        assert console.reads_only == "it takes no input"
        run.stop()
    with (
        runner.start(guest(ECHO, ""), control="guest") as run,
        runner.connect("guest") as control,
        pytest.raises(ControlError, match="has no console"),
    ):
        control.console()


def test_a_client_that_does_not_read_holds_up_nothing_and_is_told_what_it_missed(guest, monkeypatch):
    monkeypatch.setattr(consoles, "BEHIND", BEHIND)
    with runner.start(guest(FLOOD), control="guest") as run:
        stalled = runner.connect("guest").console()
        printed = len(stalled.first)
        with stalled.socket:
            attached = _attached(run)
            eventually(lambda: attached._left_out > BEHIND, "it is not behind")
            run.stop()
            text = b""
            while data := stalled.socket.recv(1 << 16):
                text += data
        result = run.result(20)
    assert result.kind == "interrupted"
    assert printed + len(text) < 1 << 20  # what the socket keeps, and BEHIND
    assert b"bytes were left out]" in text


def test_a_machine_with_virtual_time_takes_no_input_that_is_not_recorded(guest):
    with runner.start(guest("1: in $0x80, %al\njmp 1b", vm='time = "virtual"\n'), control="guest") as run:
        console = runner.connect("guest").console()
        console.socket.close()
        assert "only if it is recorded" in console.reads_only
        run.stop()


class Terminal:
    """vmrun console in a terminal of its own."""

    def __init__(self, *words):
        self.ours, theirs = pty.openpty()
        self.before = termios.tcgetattr(theirs)
        self.process = subprocess.Popen(
            [*VMRUN, "console", *words], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        self.theirs = theirs
        self.text = b""

    def shows(self, text):
        until = time.monotonic() + 20
        while text not in self.text and time.monotonic() < until:
            if select.select([self.ours], [], [], 0.2)[0]:
                self.text += os.read(self.ours, 4096)
        assert text in self.text

    def ends(self):
        status = self.process.wait(20)
        restored = termios.tcgetattr(self.theirs) == self.before
        os.close(self.ours)
        os.close(self.theirs)
        return status, restored


@pytest.mark.parametrize(("how", "status"), [("detach", 0), ("the end", 0), (signal.SIGTERM, 130)])
def test_a_terminal_is_raw_meanwhile_and_restored(guest, how, status):
    with runner.start(guest(ECHO), control="guest") as run:
        terminal = Terminal("guest")
        terminal.shows(b"serial0 of guest; Ctrl-A d detaches")
        eventually(lambda: termios.tcgetattr(terminal.theirs) != terminal.before, "it is not raw")
        os.write(terminal.ours, b"\x03\x01\x01\x01h")  # Ctrl-C and Ctrl-A are the guest's
        terminal.shows(b"Ctrl-A d  detach")
        eventually(lambda: run._session.console.text() == b"\x03\x01", "they do not reach the guest")
        match how:
            case "detach":
                os.write(terminal.ours, b"\x01d")
            case "the end":
                os.write(terminal.ours, b"q")
                terminal.shows(b"guest has closed the console")
            case number:
                terminal.process.send_signal(number)
        assert terminal.ends() == (status, True)
        if how != "the end":
            run.stop()
        assert run.result(20).kind == ("halt" if how == "the end" else "interrupted")


def test_a_virtio_console_follows_the_size_of_the_terminal(guest):
    with runner.start(guest(ECHO, '[[device]]\nkind = "virtio-console"\ninput = "none"\n'), control="guest") as run:
        model = run._session.machine.buses.devices[0].model()
        terminal = Terminal("guest")
        for columns, rows in ((0, 0), (100, 30)):
            termios.tcsetwinsize(terminal.theirs, (rows, columns))
            terminal.shows(b"virtio-console0 of guest; Ctrl-A d detaches")
            eventually(lambda: termios.tcgetattr(terminal.theirs) != terminal.before, "it is not raw")
            terminal.process.send_signal(signal.SIGWINCH)
            eventually(lambda size=(columns, rows): model._size == size, "the guest has another size")
        os.write(terminal.ours, b"\x01d")
        assert terminal.ends() == (0, True)


def test_text_in_pipes(guest):
    with runner.start(guest(ECHO), control="guest"):
        done = subprocess.run([*VMRUN, "console", "guest"], input=b"abcq", capture_output=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (0, b"abcq")
    assert done.stderr == b"vmrun: guest has closed the console\n"


def test_many_clients_come_and_go_while_it_prints(guest, descriptors):
    with runner.start(guest(FLOOD), control="guest") as run:
        before = descriptors()

        def come():
            for number in range(20):
                console = runner.connect("guest", 20).console(types=number % 2 == 0)
                console.socket.recv(100)
                console.socket.shutdown(socket.SHUT_RDWR)
                console.socket.close()

        threads = [threading.Thread(target=come) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        eventually(lambda: descriptors() <= before, "descriptors are left")
        run.stop()
        assert run.result(20).kind == "interrupted"
