"""Runs of a spec that are compared: guests whose runs are the same, and guests whose runs are not."""

import json
from random import Random
from threading import Thread

import pytest

import tracer
from runner.cli import main
from runner.session.given import Given
from runner.verification.disturbance import disturbed
from runner.verification.state import State
from runner.verification.verifying import Options, verify
from tests.fakes.flatdriver import HLT
from tests.fakes.netfakes import framed, listening, received
from tests.runner.replay.devicesguests import exchange_interrupted
from tests.runner.virtualguests import CONTRACT, CONTRACT_DEVICES, POST, SLEEPER, VIRTUAL
from vmspec.cli import main as vmspec_main
from vmspec.schema.problems import SpecError

pytestmark = pytest.mark.kvm


@pytest.fixture
def verified(write_spec, tmp_path):
    """Verifies a flat guest with three runs, of virtual time unless told otherwise."""

    def verified(code, keep=False, runs=3, vm=VIRTUAL, every=0, **spec):
        path = write_spec(code, vm=vm, **spec)
        return verify(Given.of(path, (), (), print), Options(runs, 7, tmp_path / "kept", keep, every=every))

    return verified


def test_runs_that_are_the_same_are_exact(verified, assemble):
    code, files = assemble(f"TURNS = 200\n{CONTRACT}"), {"sleeper.py": SLEEPER}
    verdict = verified(code, keep=True, devices=CONTRACT_DEVICES, files=files)
    assert (verdict.level, verdict.status, verdict.same, verdict.kind) == ("exact", 0, 3, "halt")
    assert verdict.exits > 1000
    assert (verdict.registers, verdict.pages, verdict.difference) == ((), (), None)
    assert len(verdict.registers_sha256) == len(verdict.memory_sha256) == 64
    assert [path.name for path in verdict.traces] == ["run-1.arrow", "run-2.arrow", "run-3.arrow"]
    undisturbed, *disturbed = (sum(tracer.load(path).summary["interrupted"]) for path in verdict.traces)
    assert undisturbed == 0
    assert all(disturbed)


def test_traces_of_a_verification_that_was_killed_are_removed(verified, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary/vmrun-verify-left/1").mkdir(parents=True)
    assert verified("f4", runs=2).level == "exact"
    assert [*(tmp_path / "temporary").iterdir()] == []


# Keep the TSC in a register and in memory; nothing else depends on it.
def test_registers_and_memory_that_differ_are_named(verified, assemble, tmp_path):
    verdict = verified(assemble("rdtsc; mov %eax, 0x8000; mov %eax, %ebx; xor %eax, %eax; xor %edx, %edx; cli; hlt"))
    assert (verdict.level, verdict.status, verdict.same) == ("repeatable", 0, 3)
    assert (verdict.registers, verdict.pages, verdict.traces) == (("rbx",), (0x8000,), ())
    assert not (tmp_path / "kept").exists()


# The same for a while, between the exits 5 and 9.
FORGETS_TSC = """
    mov $4, %cx; 1: out %al, $0x80; loop 1b
    rdtsc; mov %eax, 0x8000; mov %eax, %ebx; xor %eax, %eax; xor %edx, %edx
    mov $4, %cx; 2: out %al, $0x80; loop 2b
    mov %eax, 0x8000; mov %eax, %ebx
    out %al, $0x80; out %al, $0x80
    cli; hlt
"""


@pytest.mark.parametrize(
    ("every", "points", "exits"), [(1, 10, 5), (2, 5, 6), (3, 3, 6), (4, 2, 8), (5, 2, 5), (9, 1, None), (20, 0, None)]
)
def test_where_registers_and_memory_differ_first_is_named(verified, assemble, every, points, exits):
    verdict = verified(assemble(FORGETS_TSC), devices=[POST], every=every)
    assert (verdict.registers, verdict.pages, verdict.points) == ((), (), points)
    assert verdict.level == ("exact" if exits is None else "repeatable")
    assert verdict.parted == (None if exits is None else (2, exits, ("rbx",), (0x8000,)))
    said = "\n".join(verdict.lines())
    assert (f"memory after {exits} exits, in run 2: 1 page differs: 0x8000" in said) is (exits is not None)
    assert (f"on the way: the same at {points} points" in said) is (exits is None and points > 0)


SHOWS_TSC = "mov $3, %cx; 1: out %al, $0x81; loop 1b; rdtsc; out %eax, $0x80; cli; hlt"


def test_the_first_exit_that_differs_is_named_and_its_traces_are_kept(verified, assemble, tmp_path):
    verdict = verified(assemble(SHOWS_TSC), devices=[POST])
    assert (verdict.level, verdict.status, verdict.same) == ("different", 1, 1)
    found = verdict.difference
    assert (found.run, found.vcpu, found.row, list(found.columns)) == (2, 0, 3, ["data"])
    assert [path.name for path in verdict.traces] == ["run-1.arrow", "run-2.arrow"]
    values = tuple(hex(tracer.load(path).table.to_pylist()[3]["data"]) for path in verdict.traces)
    assert (found.columns, found.input) == ({"data": values}, False)
    assert f"vmtrace diff {verdict.traces[0]} {verdict.traces[1]}" in "\n".join(verdict.lines())


# Go round as often as the lowest bits of the TSC say: the runs have different numbers of exits.
ENDS_SOONER = "rdtsc; and $1023, %eax; inc %ax; mov %ax, %cx; 1: out %al, $0x80; loop 1b; cli; hlt"


def test_a_run_that_has_ended_before_differs(verified, assemble):
    verdict = verified(assemble(ENDS_SOONER.replace("out %al", "xor %al, %al; out %al")), devices=[POST])
    assert (verdict.level, "reason" in verdict.difference.columns) == ("different", True)


def test_runs_with_other_input_are_said_to_have_that(verified, tmp_path):
    def answer(server):
        for run in range(2):
            with server.accept()[0] as peer:
                received(peer)
                peer.sendall(framed(bytes([run]) * 60))
                peer.recv(1)

    with listening(tmp_path / "wire") as server:
        answers = Thread(target=answer, args=(server,))
        answers.start()
        verdict = verified(
            exchange_interrupted([bytes(60)]) + HLT,
            runs=2,
            boot={"mode": "protected"},
            devices=[{"kind": "virtio-net", "stream": "wire"}, POST],
            trace={"inputs": True},
        )
        answers.join()
    assert (verdict.level, verdict.difference.input) == ("different", True)
    assert "the runs had other input from the host" in "\n".join(verdict.lines())


def test_a_run_that_the_host_ends_decides_nothing(verified, assemble):
    verdict = verified(assemble("1: jmp 1b"), vm=VIRTUAL | {"timeout": "100ms"})
    assert (verdict.level, verdict.status) == ("undecided", 5)
    assert verdict.reason.startswith("run 1 did not end as its guest does: timeout")


def test_a_machine_with_the_hosts_time_is_refused(verified):
    with pytest.raises(SpecError) as caught:
        verified("f4", vm={})
    assert [problem.path for problem in caught.value.problems] == ["vm.time"]


def test_the_seed_decides_how_a_run_is_disturbed(monkeypatch):
    """The same kicks and pauses in the same order, with the same rests between them."""
    made = []

    class Over:
        def __init__(self):
            self.left = 60

        def wait(self, rest):
            made.append(rest)
            self.left -= 1
            return self.left < 0

    class Fake:
        def kick(self):
            made.append("kick")

        def pause(self):
            made.append("pause")
            return True

        def resume(self):
            made.append("resume")

    from runner.verification import disturbance

    monkeypatch.setattr(disturbance, "sleep", made.append)
    runs = []
    for seed in ("7/2", "7/2", "7/3"):
        made.clear()
        disturbance._disturb(Fake(), Random(seed), Over())
        runs.append(tuple(made))
    assert runs[0] == runs[1] != runs[2]
    assert {"kick", "pause", "resume"} <= set(runs[0])


def test_the_command_prints_the_verdict(write_spec, assemble, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_spec(assemble(SHOWS_TSC), devices=[POST], vm=VIRTUAL)
    assert main([str(path), "--verify", "2", "--seed", "5"]) == 1
    told = capsys.readouterr()
    assert told.out.startswith("different: 1 of 2 runs have the same 5 exits (halt)\n")
    assert "the disturbance's seed: 5\n" in told.out
    assert told.err.count("vmrun: run ") == 2
    assert (tmp_path / "vmrun-verify" / "run-2.arrow").exists()


def test_the_command_prints_the_verdict_as_json(write_spec, capsys):
    assert main([str(write_spec("f4", vm=VIRTUAL)), "--verify", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["level"], told["runs"], told["exits"], told["difference"]) == ("exact", 2, 1, None)


def test_the_lock_has_the_verdict_and_later_ones_are_compared_with_it(write_spec, capsys):
    path = write_spec("f4", vm=VIRTUAL)
    lock = path.with_name("guest.toml.lock")
    assert vmspec_main(["lock", str(path)]) == 0
    assert main([str(path), "--verify", "2", "--into-lock"]) == 0
    text = lock.read_text()
    assert '[verified]\nlevel = "exact"\nruns = 2\nend = "halt"\nexits = 1\n' in text
    assert vmspec_main(["lock", "--check", str(path)]) == 0
    assert main([str(path), "--verify", "2", "--locked"]) == 0
    capsys.readouterr()
    lock.write_text(text.replace("exits = 1", "exits = 2"))
    assert main([str(path), "--verify", "2", "--locked"]) == 1
    assert "guest.toml.lock: verified.exits: was 2, is 1" in capsys.readouterr().err


def test_runs_that_differ_leave_the_lock_as_it_is(write_spec, assemble, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_spec(assemble(SHOWS_TSC), devices=[POST], vm=VIRTUAL)
    assert vmspec_main(["lock", str(path)]) == 0
    before = path.with_name("guest.toml.lock").read_text()
    assert main([str(path), "--verify", "2", "--into-lock"]) == 1
    assert path.with_name("guest.toml.lock").read_text() == before
    assert "is unchanged: the runs differ" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--verify", "1"], "at least 2"),
        (["--verify", "2", "--no-trace"], "--no-trace is for one run"),
        (["--verify", "2", "--trace", "a.arrow"], "--keep DIR"),
        (["--verify", "2"], 'vm.time: only runs with virtual time can be verified: give time = "virtual"'),
        (["--verify", "x"], "is not a number"),
        (["--seed", "5"], "--seed is for --verify N"),
        (["--every", "5"], "--every is for --verify N"),
        (["--verify", "2", "--into-lock"], "there is no lock"),
    ],
)
def test_the_command_refuses(write_spec, capsys, words, said):
    try:
        status = main([str(write_spec("f4")), *words])
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert said in capsys.readouterr().err


def test_a_state_knows_pages_and_registers():
    zeros = State({"rax": 1, "rbx": 2}, {0: bytes(64), 0x100000: bytes(32)})
    other = State({"rax": 1, "rbx": 3}, {0: bytes(48) + b"\1" * 16, 0x100000: b"\1" + bytes(31)})
    assert zeros.other_registers(other) == ("rbx",)
    assert zeros.other_pages(other) == (3 * 4096, 0x100000)
    assert all(ours != theirs for ours, theirs in zip(zeros.hashes, other.hashes, strict=True))


def test_disturbances_leave_nothing_behind(write_spec):
    import threading

    class Idle:
        kick = pause = resume = staticmethod(lambda: False)

    before = threading.active_count()
    with disturbed(Idle(), "1"):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
