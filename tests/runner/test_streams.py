"""Input and output of a guest: consoles, readers that stall or leave, input from pipes and files."""

import os
import threading
import time

import pytest

import tracer
from runner.devices.device import DeviceError
from tests.guests import uart

pytestmark = pytest.mark.kvm

HLT = "f4"
PRINT_FOR_EVER = "ba f8 03 b0 78 ee eb fd"  # mov dx, 0x3f8; mov al, 'x'; out dx, al, for ever
DEBUG = {"kind": "debug-port"}
SERIAL = {"kind": "serial", "input": "none"}


def rows(result):
    return tracer.load(result.trace).table.to_pylist()


def outcome(result):
    return result.kind, result.status


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def test_a_console_that_nobody_reads_any_more(run_guest):
    source, sink = os.pipe()
    os.close(source)
    result = run_guest(PRINT_FOR_EVER, devices=[SERIAL], output=sink)
    os.close(sink)
    assert (outcome(result), len(rows(result)) > 0) == (("console-closed", 130), True)


def test_a_reader_that_stalls_does_not_keep_a_run_from_ending(run_guest, pipe):
    begin = time.monotonic()
    result = run_guest(PRINT_FOR_EVER, devices=[SERIAL], vm={"timeout": "1s"}, output=pipe[1])
    assert (outcome(result), time.monotonic() - begin < 15) == (("timeout", 5), True)


def test_what_a_stalled_reader_did_not_take_is_in_the_result(run_guest, pipe):
    result = run_guest(PRINT_FOR_EVER, devices=[SERIAL], vm={"timeout": "500ms"}, output=pipe[1])
    assert len(result.console) == result.counters["io"]


def test_output_reaches_the_descriptor(run_guest, pipe):
    run_guest(f"b0 41 e6 e9 {HLT}", devices=[DEBUG], output=pipe[1])
    assert os.read(pipe[0], 10) == b"A"


def test_output_to_a_file(run_guest, tmp_path):
    run_guest(f"b0 41 e6 e9 {HLT}", devices=[DEBUG | {"output": "debug.txt"}])
    assert (tmp_path / "debug.txt").read_bytes() == b"A"


def test_output_to_nowhere_is_still_the_console(run_guest):
    assert run_guest(f"b0 41 e6 e9 {HLT}", devices=[DEBUG | {"output": "none"}]).console == b"A"


def test_input_from_a_pipe(run_guest, assemble, pipe):
    os.write(pipe[1], b"typed\nq")
    assert run_guest(assemble(uart.ECHO), devices=[{"kind": "serial"}], input=pipe[0]).console == b"typed\nq"


def test_input_that_comes_late(run_guest, assemble, pipe):
    timer = threading.Timer(0.3, os.write, (pipe[1], b"late q"))
    timer.start()
    result = run_guest(assemble(uart.ECHO), devices=[{"kind": "serial"}], input=pipe[0])
    timer.join()
    assert result.console == b"late q"


def test_more_input_than_the_uart_holds(run_guest, assemble, tmp_path):
    text = b"0123456789abcdef" * 500 + b"q"
    (tmp_path / "input").write_bytes(text)
    assert run_guest(assemble(uart.ECHO), devices=[{"kind": "serial", "input": "input"}]).console == text


def test_input_from_a_named_pipe_whose_writer_comes_late(run_guest, assemble, tmp_path):
    os.mkfifo(tmp_path / "input")
    timer = threading.Timer(0.3, (tmp_path / "input").write_bytes, (b"late q",))
    timer.start()
    result = run_guest(assemble(uart.ECHO), devices=[{"kind": "serial", "input": "input"}])
    timer.join()
    assert result.console == b"late q"


def test_the_end_of_the_input_does_not_end_the_guest(run_guest, assemble, tmp_path):
    (tmp_path / "input").write_bytes(b"no more")
    result = run_guest(assemble(uart.ECHO), devices=[{"kind": "serial", "input": "input"}], vm={"timeout": "500ms"})
    assert (result.kind, result.console) == ("timeout", b"no more")


@pytest.mark.parametrize("device", [{"input": "missing"}, {"output": "missing/file"}])
def test_a_file_that_cannot_be_opened_is_named(run_guest, device, tmp_path):
    with pytest.raises(DeviceError, match=r"missing.*No such file"):
        run_guest(HLT, devices=[{"kind": "serial"} | device])
    assert {path.name for path in tmp_path.iterdir()} == {"guest.toml"}
