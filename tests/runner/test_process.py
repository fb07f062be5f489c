"""The vmrun command as a process: signals, streams, terminals, kills, full disks, hosts that cannot."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from resource import RLIMIT_AS, RLIMIT_NOFILE, setrlimit

import pytest

import tracer
from tests.guests import uart

pytestmark = pytest.mark.kvm

ROOT = Path(__file__).parents[2]
VMRUN = [sys.executable, "-m", "runner.cli"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}

HLT = "f4"
PRINT_A = "b0 41 e6 e9"  # mov al, 'A'; out 0xe9, al
FLOOD = "e6 80 eb fc"
DEBUG = {"kind": "debug-port"}
SERIAL = {"kind": "serial", "input": "none"}


class Process:
    """A vmrun that has been started."""

    def __init__(self, *arguments, preexec=None, **streams):
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
        self.process = subprocess.Popen(
            [*VMRUN, *map(str, arguments)], env=ENVIRONMENT, preexec_fn=preexec, **streams  # noqa: PLW1509 (no threads)
        )  # fmt: skip

    def end(self):
        """(status, standard error) once it has ended."""
        error = self.process.communicate(timeout=60)[1]
        return self.process.returncode, (error or b"").decode()


@pytest.fixture
def start():
    started = []

    def run(*arguments, **options):
        started.append(Process(*arguments, **options))
        return started[-1].process, started[-1].end

    yield run
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate()


# The guest says that it runs, then floods a port.
RUNNING = f"{PRINT_A} {FLOOD}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_run_in_order(start, write_spec, tmp_path, number):
    process, end = start(write_spec(RUNNING, devices=[DEBUG]))
    assert os.read(process.stdout.fileno(), 1) == b"A"
    process.send_signal(number)
    status, error = end()
    trace = tracer.load(tmp_path / "guest.arrow")
    assert (status, trace.complete, trace.table.num_rows) == (130, True, trace.summary["rows"][0])
    assert "vmrun: interrupted after" in error


def test_many_signals_end_the_run_once(start, write_spec, tmp_path):
    process, end = start(write_spec(RUNNING, devices=[DEBUG]))
    os.read(process.stdout.fileno(), 1)
    for _ in range(20):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.005)
    assert (end()[0], tracer.load(tmp_path / "guest.arrow").complete) == (130, True)


def test_a_signal_that_the_caller_ignores_is_ignored(start, write_spec):
    process, end = start(
        write_spec(RUNNING, devices=[DEBUG], vm={"timeout": "1s"}, trace=None),
        preexec=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    os.read(process.stdout.fileno(), 1)
    process.send_signal(signal.SIGHUP)
    assert end()[0] == 5


def test_a_reader_that_leaves_ends_the_run(start, write_spec, tmp_path):
    process, end = start(write_spec("ba f8 03 b0 78 ee eb fd", devices=[SERIAL]))
    os.read(process.stdout.fileno(), 100)
    process.stdout.close()
    process.stdout = None
    status, error = end()
    assert (status, tracer.load(tmp_path / "guest.arrow").complete) == (130, True)
    assert "nobody reads the console any more" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("stream", [0, 1, 2])
def test_a_closed_standard_stream(start, write_spec, tmp_path, stream):
    _, end = start(write_spec(f"{PRINT_A} {HLT}", devices=[DEBUG]), preexec=lambda: os.close(stream))
    assert (end()[0], tracer.load(tmp_path / "guest.arrow").table.num_rows) == (0, 2)


REPLACING = """
import io, os, sys
from runner.devices import Device

class Keep(Device):
    def write(self, region, offset, size, value):
        {}
"""


TAKING = ["sys.{0}.close()", "sys.{0} = io.StringIO()", "sys.{0} = None", "del sys.{0}", "sys.{0}.detach()"]


@pytest.mark.parametrize("what", [*TAKING, "os.close(sys.{0}.fileno())"])
@pytest.mark.parametrize(
    ("stream", "json"),
    [
        ("stdout", False),
        ("stderr", True),
        pytest.param("stdout", True, marks=pytest.mark.soak),
        pytest.param("stderr", False, marks=pytest.mark.soak),
    ],
)
def test_a_device_that_takes_a_standard_stream(start, write_spec, what, stream, json):
    spec = write_spec(
        f"e6 80 {PRINT_A} {HLT}", files={"keep.py": REPLACING.format(what.format(stream))}, trace=None,
        devices=[DEBUG, {"kind": "python", "class": "keep:Keep", "port": [0x80, 1]}],
    )  # fmt: skip
    process, _ = start(*(["--json"] if json else []), spec)
    output, error = process.communicate(timeout=60)
    assert process.returncode == 0, (output, error)
    if json:
        assert (error, b'"kind": "halt"' in output) == (b"A", True)
    else:
        assert (output, error.startswith(b"vmrun: halt after")) == (b"A", True)


def test_a_device_that_closes_all_descriptors_of_standard_streams(start, write_spec):
    closing = "os.closerange(0, 3)"
    spec = write_spec(
        f"e6 80 {PRINT_A} {HLT}", files={"keep.py": REPLACING.format(closing)},
        devices=[DEBUG, {"kind": "python", "class": "keep:Keep", "port": [0x80, 1]}],
    )  # fmt: skip
    process, _ = start(spec)
    output, error = process.communicate(timeout=60)
    assert (output, error.startswith(b"vmrun: halt after"), process.returncode) == (b"A", True, 0)


HOOKS = ["sys.excepthook = None", "del sys.excepthook", "import threading; threading.excepthook = None"]


@pytest.mark.parametrize("what", [*(one.format("stderr") for one in TAKING), *HOOKS])
@pytest.mark.parametrize("when", ["as it is loaded", "as it starts"])
def test_a_device_that_takes_what_threads_need(start, write_spec, what, when):
    """Threads are started after the devices."""
    source = "import io, os, sys\nfrom runner.devices import Device\n"
    if when == "as it is loaded":
        source += f"{what}\nclass Keep(Device):\n    pass\n"
    else:
        source += f"class Keep(Device):\n    def start(self):\n        {what}\n"
    spec = write_spec(
        f"e6 80 {PRINT_A} {HLT}", files={"keep.py": source},
        devices=[DEBUG, {"kind": "python", "class": "keep:Keep", "port": [0x80, 1]}],
    )  # fmt: skip
    process, _ = start(spec)
    output, error = process.communicate(timeout=60)
    assert (output, error.startswith(b"vmrun: halt after"), process.returncode) == (b"A", True, 0)


def test_a_console_that_cannot_be_written(start, write_spec):
    with Path("/dev/full").open("wb") as full:
        _, end = start(write_spec(f"{PRINT_A} {HLT}", devices=[DEBUG]), stdout=full)
        status, error = end()
    assert (status, "the console cannot be written: No space left on device" in error) == (6, True)


def test_a_pipe_as_output_that_nobody_reads(start, write_spec, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    _, end = start(write_spec(HLT, devices=[DEBUG | {"output": "pipe"}]))
    status, error = end()
    assert (status, "the pipe has no reader" in error) == (2, True)


def test_memory_that_the_host_does_not_give(start, write_spec):
    limits = (3 << 30, 3 << 30)
    _, end = start(write_spec(HLT, vm={"memory": "8GiB"}), preexec=lambda: setrlimit(RLIMIT_AS, limits))
    status, error = end()
    assert (status, "cannot map 8GiB of guest RAM" in error) == (3, True)


def test_too_few_descriptors(start, write_spec):
    for limit in (6, 7, 8, 9, 10, 11, 12):
        _, end = start(write_spec(HLT), preexec=lambda limit=limit: setrlimit(RLIMIT_NOFILE, (limit, limit)))
        status, error = end()
        assert (status in (3, 6), "ulimit -n" in error, "Traceback" in error) == (True, True, False), (limit, error)


@pytest.mark.parametrize("when", [0.15, 0.2, 0.25, 0.3, 0.4])
def test_a_signal_near_the_end_of_a_short_run_loses_nothing(start, write_spec, tmp_path, when):
    process, end = start(write_spec(HLT))
    time.sleep(when)
    process.send_signal(signal.SIGTERM)
    status, error = end()
    assert (status in (0, 130, -signal.SIGTERM), "Traceback" in error) == (True, False)
    assert not (tmp_path / "guest.ring").exists() or status == -signal.SIGTERM


def test_json_that_nobody_reads(start, write_spec):
    process, end = start("--json", write_spec(HLT))
    process.stdout.close()
    process.stdout = None
    assert end() == (0, "")


def test_input_from_a_pipe(start, write_spec, assemble):
    process, _ = start(write_spec(assemble(uart.ECHO), devices=[{"kind": "serial"}]), stdin=subprocess.PIPE)
    assert process.communicate(b"piped q", timeout=60)[0] == b"piped q"


# Runs that are killed, disks that fill


@pytest.mark.parametrize("when", [0.0, 0.2])
def test_the_run_after_a_killed_one_finds_its_trace_closed(start, write_spec, tmp_path, when):
    process, _ = start(write_spec(RUNNING, devices=[DEBUG]))
    os.read(process.stdout.fileno(), 1)
    time.sleep(when)
    process.kill()
    process.wait()
    status, error = start(tmp_path / "guest.toml", "--timeout", "100ms")[1]()
    assert (status, "an earlier run" in error, (tmp_path / "guest.ring").exists()) == (5, False, False), error


@pytest.mark.parametrize("size", [0, 4096, 1 << 21])
def test_a_ring_file_that_is_cut_short_ends_the_run(start, write_spec, tmp_path, size):
    process, end = start(write_spec(RUNNING, devices=[DEBUG]))
    os.read(process.stdout.fileno(), 1)
    os.truncate(tmp_path / "guest.ring", size)
    status, error = end()
    assert (status, "guest.ring was truncated while the guest ran" in error, "Traceback" in error) == (6, True, False)


def test_a_sigbus_of_another_kind_is_one(start, write_spec):
    process, end = start(write_spec(RUNNING, devices=[DEBUG]))
    os.read(process.stdout.fileno(), 1)
    process.send_signal(signal.SIGBUS)
    assert end()[0] == -signal.SIGBUS


def small_disk(directory, size, *command):
    """Run a command in a mount namespace in which the directory is an empty file system of that size."""
    script = 'mount -t tmpfs -o size="$1" none "$2" && shift 2 && exec "$@"'
    unshare = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", size, directory]
    done = subprocess.run([*unshare, *command], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    return done


def test_a_disk_that_fills_while_recording(write_spec, tmp_path):
    (tmp_path / "disk").mkdir()
    spec = write_spec(FLOOD, trace={"path": "disk/guest.arrow", "ring": 1024})
    code = (
        "import os, tracer; from runner.cli import main\n"
        f"status = main([{str(spec)!r}]); os.chdir({str(tmp_path / 'disk')!r})\n"
        "print(status, tracer.load('guest.arrows').table.num_rows > 1000, *sorted(os.listdir()))"
    )
    done = small_disk(tmp_path / "disk", "3m", sys.executable, "-c", code)
    assert done.stdout == "6 True guest.arrows guest.ring\n", done.stderr
    assert (
        f"vmrun: cannot write {tmp_path}/disk/guest.arrows: No space left on device; the rows written so far"
        in done.stderr
    )


def test_a_disk_without_room_for_the_rings(write_spec, tmp_path):
    (tmp_path / "disk").mkdir()
    spec = write_spec(FLOOD, trace={"path": "disk/guest.arrow"})
    done = small_disk(tmp_path / "disk", "1m", *VMRUN, spec)
    assert (done.returncode, "No space left on device; free some room" in done.stderr) == (6, True)


def test_a_folder_that_is_deleted_while_recording(start, write_spec, tmp_path):
    folder = tmp_path / "traces"
    folder.mkdir()
    process, end = start(write_spec(FLOOD, vm={"timeout": "30s"}), "--trace", folder / "guest.arrow")
    while not (folder / "guest.arrows").exists():
        time.sleep(0.05)
    shutil.rmtree(folder)
    process.send_signal(signal.SIGTERM)
    status, error = end()
    assert (status, f"vmrun: cannot write {folder}/guest.arrow" in error, "vmtrace recover" in error) == (
        6,
        True,
        False,
    )
    assert not folder.exists()


def test_a_folder_that_is_not_to_be_written(write_spec):
    """In a child that gives up its rights, as root may write everywhere. It imports what it needs before: root's own
    Python may be closed to others."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    if not Path("/dev/kvm").stat().st_mode & stat.S_IRGRP:
        pytest.skip("/dev/kvm is open to root only")
    code = (
        "import os, sys; from runner.cli import main; from runner.recording import link\n"
        "main(['spec.toml', '--no-trace']); sys.stderr.flush()\n"
        "os.setgroups([os.stat('/dev/kvm').st_gid]); os.setgid(65534); os.setuid(65534)\n"
        "print('now', file=sys.stderr)\n"
        "sys.exit(main(['spec.toml', '--trace', 'guest.arrow']))"
    )
    with tempfile.TemporaryDirectory() as directory:  # tmp_path is closed to others
        Path(directory).chmod(0o755)
        shutil.copy(write_spec(HLT), Path(directory, "spec.toml"))
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=directory, env=ENVIRONMENT, capture_output=True, text=True, check=False
        )
        assert [path.name for path in Path(directory).iterdir()] == ["spec.toml"]
    message = done.stderr.partition("now\n")[2]
    assert (done.returncode, message.startswith("vmrun: cannot record: ")) == (6, True), done.stderr
    assert "Permission denied; choose another place with --trace FILE, or run with --no-trace" in message


# Hosts that cannot


def test_a_host_without_kvm(write_spec):
    """In a mount namespace whose /dev is empty but for what Python needs."""
    script = 'mount -t tmpfs none /dev && touch /dev/null && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", *VMRUN, write_spec(HLT)],
        env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert (done.returncode, done.stderr.startswith("vmrun: /dev/kvm does not exist: load the KVM module")) == (3, True)


def test_a_user_without_permission(write_spec):
    """In a child that gives up its rights once a first call has imported everything."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    if Path("/dev/kvm").stat().st_mode & 0o006 == 0o006:
        pytest.skip("/dev/kvm is open to everyone here")
    code = (
        "import grp, os, sys; from runner.cli import main; main(['spec.toml', '--no-trace']); sys.stderr.flush()\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); print('now', file=sys.stderr)\n"
        "sys.exit(main(['spec.toml', '--no-trace']))"
    )
    with tempfile.TemporaryDirectory() as directory:  # tmp_path is closed to others
        Path(directory).chmod(0o755)
        shutil.copy(write_spec(HLT), Path(directory, "spec.toml"))
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=directory, env=ENVIRONMENT, capture_output=True, text=True, check=False
        )
    message = done.stderr.partition("now\n")[2]
    assert (done.returncode, message.startswith("vmrun: no permission to open /dev/kvm: ")) == (3, True)


def test_an_interrupt_before_anything_is_open_is_no_traceback():
    script = "import runner.entry, os, signal; os.kill(os.getpid(), signal.SIGINT)"
    done = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")
