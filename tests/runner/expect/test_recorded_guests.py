"""Each expectation of exits, times, accesses, devices, ports and a reference has a guest that meets it, and one that
misses it by one."""

import shlex
import subprocess
import sys

import pytest

from tests.runner.devices.virtio.test_blk import contents
from tests.runner.devices.virtio.test_blk_guests import FEATURES, request
from tests.runner.devices.virtio.test_guests import (
    DATA,
    HLT,
    USED,
    await_reset_needed,
    await_word,
    describe,
    offer,
    put,
    start,
)
from tracer.cli import main
from vmspec.schema.problems import SpecError

pytestmark = pytest.mark.kvm

DEBUG = {"kind": "debug-port"}
SAY = {byte: f"b0 {ord(byte):02x} e6 e9 " for byte in "abc\n"}  # mov al; out 0xe9
OUT = "e6 80 "  # out 0x80, al: no device claims it
WORD = "e7 81 "  # out 0x81, ax


def said(result):
    return [(one.key, one.came) for one in result.unmet]


@pytest.mark.parametrize(
    ("expect", "met", "missed", "key", "came"),
    [
        ({"exits": {"all": 2}}, OUT, OUT * 2, "exits.all", "3 came"),
        ({"exits": {"reason": {"io": 1}}}, OUT, OUT * 2, "exits.reason.io", "2 came"),
        ({"exits": {"device": {"debug-port0": 2}}}, SAY["a"] * 2, SAY["a"] * 3, "exits.device.debug-port0", "3 came"),
        ({"time": {"line": {"b": "1h"}}}, SAY["b"], SAY["a"], "time.line.b", "no line has it"),
        ({"unclaimed": "none"}, SAY["a"], SAY["a"] + OUT, "unclaimed", "the guest wrote port 0x80 once, first after "),
        (
            {"unclaimed": "none", "allow": [[0x81, 2], 0x80]}, WORD + OUT, "e7 82" + OUT,
            "unclaimed", "the guest wrote port 0x82 once, first after ",
        ),
    ],
)  # fmt: skip
def test_a_limit(run_guest, expect, met, missed, key, came):
    result = run_guest(met + "f4", devices=[DEBUG], expect=expect)
    assert (result.status, result.unmet) == (0, ())
    result = run_guest(missed + "f4", devices=[DEBUG], expect=expect)
    [failure] = result.unmet
    assert (result.status, failure.key) == (1, f"expect.{key}")
    assert failure.came.startswith(came)


@pytest.mark.parametrize("what", ["guest", "handling"])
def test_a_time(run_guest, what):
    assert run_guest(OUT + "f4", expect={"time": {what: "1h"}}).status == 0
    result = run_guest(OUT + "f4", expect={"time": {what: "1ns"}})
    assert (result.status, result.unmet[0].key) == (1, f"expect.time.{what}")
    assert result.unmet[0].came.startswith("it took ")


def test_a_line_that_comes_too_late(run_guest):
    result = run_guest(SAY["a"] + "f4", devices=[DEBUG], expect={"time": {"line": {"a": "1ns"}}})
    assert result.unmet[0].came.startswith("it came after ")


def test_an_address_that_no_device_claims(run_guest):
    code = "a1 00 00 00 d0 f4"  # mov eax, [0xd0000000]
    boot = {"mode": "protected"}
    result = run_guest(code, boot=boot, expect={"unclaimed": "none"})
    assert "the guest read address 0xd0000000 once" in result.unmet[0].came
    assert run_guest(code, boot=boot, expect={"unclaimed": "none", "allow": [[0xD0000000, 4]]}).status == 0
    assert run_guest(code, boot=boot, expect={"unclaimed": "none", "allow": [[0xD0000000, 3]]}).status == 1


def test_the_first_places_are_named(run_guest):
    result = run_guest("".join(f"e6 {port:02x} " for port in range(12)) + "f4", expect={"unclaimed": "none"})
    assert len(result.unmet) == 11
    assert result.unmet[-1].came == "the guest accessed 2 more"


def test_a_request_that_fails(run_guest, tmp_path):
    (tmp_path / "disk.img").write_bytes(contents())
    sectors = len(contents()) // 512
    disk = {"kind": "virtio-blk", "path": "disk.img", "mode": "ro"}

    def run(sector):
        code = start(features=FEATURES) + request(0, 0, sector, 512, write=True) + HLT
        return run_guest(code, boot={"mode": "protected"}, devices=[disk, DEBUG], expect={"errors": "none"})

    assert (run(sectors - 1).status, said(run(sectors - 1))) == (0, [])
    [(key, came)] = said(run(sectors))
    assert (key, came.partition(", ")[0]) == ("expect.errors", "1 request 'read' to virtio-blk0 ended with 'error'")


def test_a_driver_that_breaks_a_queue(run_guest):
    def run(head):
        code = start() + describe(0, DATA, 4, 2)
        code += offer(0, head) + (await_word(USED + 2, 1) if head == 0 else await_reset_needed()) + HLT
        devices = [{"kind": "virtio-rng", "seed": 7}, DEBUG]
        return run_guest(code, boot={"mode": "protected"}, devices=devices, expect={"errors": "none"})

    assert said(run(0)) == []
    [(key, came)] = said(run(8))
    assert key == "expect.errors"
    assert came.startswith("virtio-rng0: the guest's driver must reset it: queue 0: ")


@pytest.mark.parametrize(
    ("verdict", "met", "missed", "came"),
    [
        ("passed", b"start\npassed\n", b"passed\nstart\n", "it is 'start'"),
        (
            {"ok": True, "counts": {"failed": 0}},
            b'{"ok": true, "counts": {"failed": 0, "all": 9}}', b'{"ok": true, "counts": {"failed": 1, "all": 9}}',
            """counts.failed is different in '{"ok": true, "counts": {"failed": 1, "all": 9}}'""",
        ),
    ],
)  # fmt: skip
def test_a_port(run_guest, verdict, met, missed, came):
    console = {"kind": "virtio-console", "input": "none", "ports": [{"name": "result"}]}

    def run(text):
        code = start(features=2, index=5) + put(DATA, text) + describe(0, DATA, len(text), 0)
        code += offer(0, 0, queue=5) + await_word(USED + 2, 1) + HLT
        return run_guest(code, boot={"mode": "protected"}, devices=[console], expect={"ports": {"result": verdict}})

    assert said(run(met)) == []
    assert said(run(missed)) == [("expect.ports.result", came)]


GUEST = SAY["a"] + OUT


@pytest.fixture
def golden(run_guest, tmp_path):
    """A reference trace of the guest."""
    run_guest(GUEST + "f4", devices=[DEBUG]).trace.rename(tmp_path / "golden.arrow")
    return "golden.arrow"


def test_a_reference(run_guest, golden):
    def run(code, *differ):
        return run_guest(code + "f4", devices=[DEBUG], expect={"reference": golden, "differ": list(differ)})

    assert said(run(GUEST)) == []
    result = run(SAY["b"] + OUT)
    [(key, came)] = said(result)
    assert (result.status, key) == (1, "expect.reference")
    assert came == (
        "vCPU 0 differs from its exit 0 on (2 changed; columns: data 2), "
        "where the reference prints 'a' and this run 'b'"
    )
    assert said(run(SAY["b"] + OUT, "data")) == []
    assert [key for key, _ in said(run(GUEST + OUT, "data"))] == ["expect.reference"]


def test_a_reference_with_more_than_the_run_has(run_guest, golden):
    def run(*differ):
        expect = {"reference": golden, "differ": list(differ)}
        return run_guest(GUEST + "f4", devices=[DEBUG], expect=expect, trace={"rip": False})

    assert said(run("rip")) == []
    [(key, came)] = said(run())
    assert (key, came.partition(":")[0]) == ("expect.reference", "a trace was recorded without it")


def test_vcpus_that_differ_are_named_up_to_a_few(run_guest, tmp_path):
    def run(code, **expect):
        return run_guest(code + "f4", expect=expect, vm={"vcpus": 5})

    run("").trace.rename(tmp_path / "golden.arrow")
    [(_, came)] = said(run(OUT, reference="golden.arrow"))
    assert came.count("differs from its exit 0 on") == 3
    assert came.endswith("; 2 more vCPUs differ")


def test_each_place_in_the_trace_can_be_seen(run_guest, golden, capsys):
    """The commands run, and the one of a reference shows the difference."""
    expect = {
        "console": ["x"], "exit": ["reset"], "unclaimed": "none", "reference": golden, "differ": ["rip"],
        "exits": {"all": 0, "device": {"debug-port0": 0}},
        "time": {"guest": "1ns", "handling": "1ns", "line": {"x": "1s"}},
    }  # fmt: skip
    result = run_guest(SAY["b"] + OUT + "f4", devices=[DEBUG], expect=expect)
    assert len(result.unmet) == 9
    for failure in result.unmet:
        command, *arguments = shlex.split(failure.look)
        assert (command, main(arguments)) == ("vmtrace", 1 if arguments[0] == "diff" else 0), failure
        assert capsys.readouterr().out


def test_a_reference_that_is_no_trace(run_guest, tmp_path):
    (tmp_path / "golden.arrow").write_bytes(b"ARROW1")
    result = run_guest("f4", expect={"reference": "golden.arrow"})
    assert (result.status, result.unmet[0].key, result.unmet[0].expected) == (
        1, "expect.reference", "a trace to compare with",
    )  # fmt: skip


@pytest.mark.parametrize(("trace", "record"), [({}, False), (None, True)])
def test_a_run_that_records_nothing(write_spec, trace, record):
    from runner.session.session import run

    spec = write_spec("f4", expect={"unclaimed": "none", "exits": {"all": 1}}, trace=trace)
    with pytest.raises(SpecError, match=r"^\S+: expect\.unclaimed: is checked in the trace, and this run records none"):
        run(spec, record=record)


def test_a_run_without_such_expectations_reads_no_trace(write_spec):
    code = (
        "import sys; from runner.session.session import run; "
        f"result = run({str(write_spec(OUT + 'f4', expect={'exits': {'all': 1}}))!r}); "
        "assert len(result.unmet) == 1; assert 'pyarrow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
