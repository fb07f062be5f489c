"""vmrun campaign --scheduler: a Dask cluster of processes on this host."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import tracer

pytestmark = pytest.mark.kvm

ROOT = Path(__file__).parents[3]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s"}
# in al, 0x50; out 0xe9, al; out 0x80, al; hlt
SPEC = """\
[vm]
name = "guest"
memory = "1MiB"
[boot]
mode = "real"
kernel = "guest.bin"
[[device]]
kind = "debug-port"
[[device]]
kind = "python"
class = "letter:Letter"
port = [0x50, 1]
"""
CODE = bytes.fromhex("e4 50 e6 e9 e6 80 f4")
LETTER = "from runner.devices import Device\nclass Letter(Device):\n    def read(self, region, offset, size):\n        "
EXPECT = '[expect]\nconsole = "A"\n'


class Cluster:
    """A scheduler and its workers, each a process."""

    def __init__(self, folder):
        self.folder, self.workers, self.count = folder, [], 0

    def __enter__(self):
        about = self.folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--port", "0", "--scheduler-file", about)
        with ExitStack() as stack:
            stack.push(self)
            wait(lambda: about.exists() and about.read_text().endswith("}"))
            self.address = json.loads(about.read_text())["address"]
            stack.pop_all()
        return self

    def _start(self, program, *arguments):
        self.count += 1
        own = self.folder / f"{program}{self.count}"
        own.mkdir()
        command = [sys.executable, "-m", f"distributed.cli.dask_{program}", *arguments, "--host", "127.0.0.1"]
        with (own / "log").open("w") as log:
            return subprocess.Popen(
                list(map(str, [*command, "--no-dashboard"])), cwd=own, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=ENVIRONMENT | {"XDG_CACHE_HOME": str(own / "cache")},
            )  # fmt: skip

    def work(self):
        """Start a worker."""
        options = ["--nthreads", "1", "--no-nanny", "--memory-limit", "0", "--resources", "vcpus=1 kvm=1"]
        self.workers.append(self._start("worker", self.address, *options, "--local-directory", "."))
        place = self.folder / f"worker{self.count}"
        wait(lambda: "Registered to" in (place / "log").read_text())
        return place

    def __exit__(self, *error):
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


def wait(condition):
    deadline = time.monotonic() + 400  # on a busy host Dask alone takes a minute to start
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def cluster(tmp_path):
    with Cluster(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A cluster with a worker, for tests that leave both as they are."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as made:
        made.work()
        yield made


@pytest.fixture
def begin(tmp_path):
    """Begins a campaign; returns its process, whose files no worker sees by the paths that it has."""
    here = tmp_path / "here"
    here.mkdir()

    def run(address, text):
        (here / "a.toml").write_text(SPEC + EXPECT)
        (here / "guest.bin").write_bytes(CODE)
        (here / "letter.py").write_text(LETTER + "return 0x41\n")
        (here / "c.toml").write_text(f'[campaign]\nspecs = "a.toml"\n{text}\n')
        command = ["-m", "runner.cli", "campaign", "/proc/self/cwd/c.toml", "-o", "out", "--scheduler", address]
        return subprocess.Popen(
            [sys.executable, *command], cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=ENVIRONMENT,
        )  # fmt: skip

    return run


def rows(tmp_path):
    return pq.read_table(tmp_path / "here/out/runs.parquet").to_pylist()


def ended(tmp_path, count):
    journal = tmp_path / "here/out/runs.journal"
    return journal.exists() and journal.read_bytes().count(b"\n") >= count


@pytest.mark.parametrize("repeat", [40, pytest.param(2000, marks=pytest.mark.soak)])
def test_a_worker_that_is_killed_costs_no_run(cluster, begin, tmp_path, repeat):
    places = [cluster.work(), cluster.work()]
    with begin(cluster.address, f'repeat = {repeat}\ntraces = "every"\nevery = {repeat // 4}') as campaign:
        wait(lambda: ended(tmp_path, repeat // 4))
        cluster.workers[0].kill()
        out, error = campaign.communicate()
    assert (campaign.returncode, error) == (0, ""), out
    found = rows(tmp_path)
    assert len(found) == len({row["run"] for row in found}) == repeat
    assert {row["repetition"] for row in found} == set(range(repeat))
    assert {(row["status"], row["error"], row["exits"]) for row in found} == {(0, None, 4)}
    # The files went to each worker once.
    for place in places:
        assert sorted(path.read_bytes() for path in (place / "cache/vmrun/images").iterdir()) == sorted(
            [CODE, (LETTER + "return 0x41\n").encode()]
        )
    # The traces have come back.
    kept = {row["repetition"]: row["trace"] for row in found if row["trace"] is not None}
    assert kept.keys() == {0, repeat // 4, repeat // 2, 3 * repeat // 4}
    assert all(Path(path).parent == tmp_path / "here/out/traces" for path in kept.values())
    assert all(tracer.load(path).complete for path in kept.values())
    assert [*places[1].rglob("*.arrow")] == []


def test_a_lost_scheduler_ends_it_and_another_one_continues(cluster, shared, begin, tmp_path):
    cluster.work()
    with begin(cluster.address, 'repeat = 30\ntraces = "none"') as campaign:
        wait(lambda: ended(tmp_path, 3))
        cluster.scheduler.kill()
        _, error = campaign.communicate()
    said = f"vmrun: the scheduler {cluster.address} was lost; once it is back, the same command continues\n"
    assert (campaign.returncode, error) == (3, said)
    before = {row["run"] for row in rows(tmp_path)}
    assert 3 <= len(before) < 30
    with begin(shared.address, 'repeat = 30\ntraces = "none"') as campaign:
        out, error = campaign.communicate()
    assert (campaign.returncode, error, f"{len(before)} of 30 runs are in" in out) == (0, "", True)
    found = [row["run"] for row in rows(tmp_path)]
    assert (len(found), len({*found}), before <= {*found}) == (30, 30, True)


@pytest.mark.soak
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_campaign_that_is_ended_makes_only_the_missing_runs_later(cluster, begin, tmp_path, number, status):
    cluster.work()
    text = 'repeat = 2000\ntraces = "none"'
    with begin(cluster.address, text) as campaign:
        wait(lambda: ended(tmp_path, 3))
        campaign.send_signal(number)
        begun = time.monotonic()
        campaign.communicate()
        took = time.monotonic() - begun
    assert (campaign.returncode, took < 20) == (status, True), took
    journal, table = tmp_path / "here/out/runs.journal", tmp_path / "here/out/runs.parquet"
    before = journal.read_bytes().count(b"\n") if number == signal.SIGKILL else len(rows(tmp_path))
    assert 3 <= before < 2000
    assert table.exists() == (number == signal.SIGINT)
    first = {row["run"]: row["started"] for row in rows(tmp_path)} if table.exists() else {}
    with begin(cluster.address, text) as campaign:
        wait(lambda: ended(tmp_path, 3 if table.exists() else before + 3))
        campaign.send_signal(signal.SIGINT)
        out, _ = campaign.communicate()
    assert f"{before} of 2,000 runs are in" in out
    found = {row["run"]: row["started"] for row in rows(tmp_path)}
    assert before + 3 <= len(found) == len(rows(tmp_path)) < 2000
    assert first.items() <= found.items()


def test_what_no_worker_offers_and_what_is_no_scheduler(shared, begin, tmp_path):
    for address, text, status, said in [
        (shared.address, '[axes]\n"vm.vcpus" = [2]', 3, "offers vcpus=2 kvm=1, which a run needs (tcp://"),
        ("nonsense://a:1", "", 2, "vmrun: --scheduler nonsense://a:1: unknown address scheme 'nonsense'"),
        ("tcp://127.0.0.1:1", "", 3, "vmrun: the scheduler tcp://127.0.0.1:1 does not answer"),
    ]:
        with begin(address, text) as campaign:
            _, error = campaign.communicate()
        assert (campaign.returncode, said in error, error.count("\n")) == (status, True, 1), error
        assert not (tmp_path / "here/out/runs.parquet").exists()
