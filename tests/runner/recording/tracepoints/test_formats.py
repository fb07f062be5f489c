"""The kernel's published formats of its events."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.kvm.errors import HostError
from runner.recording.tracepoints import formats
from runner.recording.tracepoints.formats import Field, parse
from vmspec.trace.events import EVENTS, NEEDED, Into

# As Linux 6.1 writes it.
EXIT = """name: kvm_exit
ID: 1234
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:unsigned int exit_reason;	offset:8;	size:4;	signed:0;
	field:unsigned long guest_rip;	offset:16;	size:8;	signed:0;
	field:u32 isa;	offset:24;	size:4;	signed:0;
	field:__u8 insn[15];	offset:28;	size:15;	signed:0;
	field:int errno;	offset:44;	size:4;	signed:1;

print fmt: "vcpu %u reason %s field:%d", REC->exit_reason
"""
PIECES = ["", "\n", ";", ":", "0", "9", "99999999999", "-", "é", "field:", "[", "\0"]


def test_a_format():
    form = parse(EXIT)
    assert (form.id, form.fields["exit_reason"], form.fields["guest_rip"], form.fields["errno"]) == (
        1234,
        Field(8, 4, False),
        Field(16, 8, False),
        Field(44, 4, True),
    )


def test_arrays_are_left_out():
    assert "insn" not in parse(EXIT).fields


def test_the_first_name_that_the_kernel_has_is_taken():
    chosen = parse(EXIT).chosen([Into("a", ("absent", "isa", "errno")), Into("b", ("absent",))])
    assert [(into.slot, field) for into, field in chosen] == [("a", Field(24, 4, False))]


@pytest.mark.parametrize("text", ["", "ID: 7", *(EXIT.replace("1234", number) for number in ("0", "65536"))])
def test_what_is_no_format(text):
    with pytest.raises(ValueError, match="it has no"):
        parse(text)


@given(st.data())
def test_a_mutated_format_is_a_format_or_an_error(data):
    text = list(EXIT)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at] = data.draw(
            st.sampled_from(["", "\n", ";", ":", "0", "9", "99999999999", "-", "é", "field:", "[", "\0"])
        )
    try:
        form = parse("".join(text))
    except ValueError:
        return
    assert 0 < form.id < 1 << 16
    assert all(f.size in (1, 2, 4, 8) and 0 <= f.offset <= f.offset + f.size <= 1 << 16 for f in form.fields.values())


@given(st.text())
def test_any_text_is_a_format_or_an_error(text):
    try:
        parse(text)
    except ValueError:
        pass


@pytest.fixture
def tracefs(tmp_path: Path) -> Path:
    """A tracefs of one's own, with the events that are needed and one more."""
    for name in (*NEEDED, "kvm_pio"):
        directory = tmp_path / "events" / "kvm" / name
        directory.mkdir(parents=True)
        (directory / "format").write_text(EXIT)
    return tmp_path


def test_events_that_this_kernel_lacks_are_left_out(tracefs):
    assert set(formats.read(EVENTS, [tracefs])) == {*NEEDED, "kvm_pio"}


def test_the_first_place_that_is_mounted_is_read(tracefs, tmp_path):
    assert "kvm_pio" in formats.read(EVENTS, [tmp_path / "absent", tracefs])


def test_without_a_needed_event(tracefs):
    (tracefs / "events" / "kvm" / "kvm_exit" / "format").unlink()
    with pytest.raises(HostError, match="no tracepoint kvm_exit"):
        formats.read(EVENTS, [tracefs])


def test_tracefs_is_not_mounted(tmp_path):
    with pytest.raises(HostError, match="tracefs is not mounted: as root, mount -t tracefs"):
        formats.read(EVENTS, [tmp_path])


def test_kvm_is_not_loaded(tmp_path):
    (tmp_path / "events").mkdir()
    with pytest.raises(HostError, match="the kvm module is not loaded"):
        formats.read(EVENTS, [tmp_path])


def test_a_format_that_is_none(tracefs):
    (tracefs / "events" / "kvm" / "kvm_pio" / "format").write_text("nonsense")
    with pytest.raises(HostError, match="kvm_pio/format is not a tracepoint format"):
        formats.read(EVENTS, [tracefs])


def test_no_right_to_read_tracefs(tracefs):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (tracefs / "events" / "kvm").chmod(0)
    with pytest.raises(HostError, match="CAP_PERFMON"):
        formats.read(EVENTS, [tracefs])
