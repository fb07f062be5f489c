"""vmrun campaign: tiny guests on this host's KVM, a row each."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import tracer
from runner.cli import main

pytestmark = pytest.mark.kvm

# mov al, bl; out 0xe9, al; out 0x80, al; hlt
GUEST = '[vm]\nname = "guest"\nmemory = "1MiB"\n[boot]\nmode = "real"\ncode = "88 d8 e6 e9 e6 80 f4"\n'
DEBUG = '[[device]]\nkind = "debug-port"\n'


@pytest.fixture
def campaign(tmp_path, monkeypatch, capfd):
    """Writes a guest and a campaign of it, and runs that into out: (status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(text="", guest=GUEST + DEBUG, axes=""):
        Path("a.toml").write_text(guest)
        Path("c.toml").write_text(f'[campaign]\nspecs = "a.toml"\n{text}\n[axes]\n{axes}\n')
        return main(["campaign", "c.toml", "-o", "out"]), *capfd.readouterr()

    return run


def rows():
    return pq.read_table("out/runs.parquet").to_pylist()


def test_every_combination_is_run_as_often_as_asked(campaign):
    expecting = GUEST + DEBUG + '[expect]\nconsole = "A"\n'
    status, out, error = campaign("repeat = 3", expecting, '"boot.registers.rbx" = [0x41, 0x42]')
    assert (status, error, out.splitlines()[-1].endswith("out/runs.parquet has 6 of 6")) == (0, "", True)
    found = sorted((row["set.boot.registers.rbx"], row["repetition"], row["status"]) for row in rows())
    assert found == [(0x41, n, 0) for n in range(3)] + [(0x42, n, 1) for n in range(3)]
    for row in rows():
        groups = {(group["device"], group["reason"]): group["exits"] for group in row["groups"]}
        assert groups == {("debug-port0", "io"): 1, ("-", "io"): 1, ("-", "hlt"): 1}
        assert (row["kind"], row["exits"], row["median_ns"] > 0, row["phases"]) == ("halt", 3, True, [])
        # Traces of failed runs are kept.
        assert (row["trace"] is None) == (row["status"] == 0)
        assert row["trace"] is None or tracer.load(row["trace"]).complete
    assert len([*Path("out/traces").iterdir()]) == 3


def test_the_phases_of_a_boot_of_linux(campaign):
    text = b"BIOS\nLinux version 6\n"
    # mov si, 0x100c; mov cx, length; mov dx, 0xe9; rep outsb; hlt; text
    code = f"be 0c 10 b9 {len(text):02x} 00 ba e9 00 f3 6e f4 {text.hex(' ')}"
    campaign("", GUEST.replace("88 d8 e6 e9 e6 80 f4", code) + DEBUG)
    (row,) = rows()
    assert [phase["phase"] for phase in row["phases"]] == ["before printing the log so far", "printing the log so far"]
    assert sum(phase["time_ns"] for phase in row["phases"]) > 0


def test_what_is_there_is_not_run_again(campaign):
    campaign('repeat = 2\ntraces = "none"')
    before = rows()
    assert [row["median_ns"] for row in before] == [None, None]
    status, out, _ = campaign('repeat = 3\ntraces = "none"')
    assert (status, "2 of 3 runs are in" in out, rows()[:2]) == (0, True, before)
    # Another machine is another run, and white space in the spec is not.
    assert "3 of 3 runs are in" in campaign('repeat = 3\ntraces = "none"', GUEST + "\n# the same\n" + DEBUG)[1]
    campaign('repeat = 3\ntraces = "none"', GUEST.replace("88 d8", "90 90") + DEBUG)
    assert len({row["run"] for row in rows()}) == 6


def test_a_limit_of_disk_space_stops_it_and_more_continues(campaign):
    status, _, error = campaign('repeat = 5\ntraces = "all"\ndisk = "1MiB"')
    assert (status, "runs are missing" in error, "has reached campaign.disk" in error) == (1, True, True)
    assert campaign('repeat = 5\ntraces = "all"\ndisk = "1GiB"')[0] == 0
    assert (len(rows()), len([*Path("out/traces").iterdir()])) == (5, 5)


def test_some_traces(campaign):
    campaign('repeat = 4\ntraces = "every"\nevery = 2')
    assert {row["repetition"]: row["trace"] is not None for row in rows()} == {0: True, 1: False, 2: True, 3: False}


@pytest.mark.parametrize(
    ("text", "axes", "said"),
    [
        ("repeats = 2", "", "vmrun: c.toml:3:1: campaign.repeats: unknown key"),
        ("", '"vm.vcpu" = [1]', "--set vm.vcpu=1: vm.vcpu: unknown key"),
    ],
)
def test_a_wrong_campaign(campaign, text, axes, said):
    status, out, error = campaign(text, axes=axes)
    assert (status, out, said in error, Path("out").exists()) == (2, "", True, False)


def test_a_folder_with_other_files(campaign):
    Path("out").mkdir()
    Path("out/mine").touch()
    status, _, error = campaign()
    assert (status, "it has other files, such as mine" in error) == (2, True)


def test_a_killed_campaign_runs_only_what_is_missing(campaign, tmp_path):
    (tmp_path / "a.toml").write_text(GUEST + DEBUG)
    (tmp_path / "c.toml").write_text('[campaign]\nspecs = "a.toml"\nrepeat = 150\ntraces = "none"\n[axes]\n\n')
    command = [sys.executable, "-m", "runner.cli", "campaign", "c.toml", "-o", "out"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as killed:
        journal, deadline = tmp_path / "out" / "runs.journal", time.monotonic() + 60
        while not (journal.exists() and journal.stat().st_size > 2000) and time.monotonic() < deadline:
            time.sleep(0.005)
        killed.kill()
    begun = [line.split('"')[3] for line in journal.read_text().splitlines() if line.endswith("}")]
    assert 0 < len(begun) < 150
    status, out, _ = campaign('repeat = 150\ntraces = "none"')
    assert (status, f"{len(begun)} of 150 runs are in" in out) == (0, True)
    found = [row["run"] for row in rows()]
    assert (len(found), len({*found}), {*begun} <= {*found}) == (150, 150, True)
