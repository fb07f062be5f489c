"""The tracepoints: recording, reading, and their join with the exits."""

import shutil
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracer
from tests.fakes.examples import DEAR
from tests.fakes.tracefakes import MUTATIONS, exit_, mutations, record_all
from tests.fakes.tracepointfakes import NAMES, RAN, ROWS, STORY, Source, event, record, vmexit
from tracer.analysis.account import account
from tracer.analysis.tracepoint_details import by_detail
from tracer.analysis.tracepoint_spans import spans
from tracer.analysis.tracepoints import by_event, by_handling, by_reason, by_vcpu, notes, summed, time_by_vcpu
from tracer.cli import main
from tracer.commands.columns import schemas
from tracer.format.errors import TraceError
from tracer.read.tablefile import TableFile
from tracer.record.tracepointrecorder import TracepointRecorder
from vmspec.trace.events import EVENTS
from vmspec.trace.record import FLAGS
from vmspec.trace.tracepoints import COLUMNS, TRACEPOINTS


@pytest.fixture
def make(tmp_path):
    """A trace of exits (records of each vCPU) and tracepoints (lists, one for each batch)."""

    def made(exits, *drains, summary=None, **table):
        path = tmp_path / "t.arrow"
        record_all(path, exits, summary=summary)
        record(path, *drains, **table)
        return tracer.load(path)

    return made


def told(trace):
    return [row for piece in spans(trace) for row in piece.to_pylist()]


def test_the_story(make):
    found = [
        (row["t"], row["t_entry"], row["exit"], row["handled"], row["rows"], row["user_ns"])
        for row in told(make([ROWS], STORY, summary=RAN))
    ]
    assert found == [
        (20, 50, "-", "start", 0, 0),
        (100, 130, "npf", "kvm", 0, 0),
        (200, 600, "ioio", "userspace", 1, 300),
        (700, 900, "hlt", "interrupted", 0, 0),
        (1000, 1500, "msr", "open", 0, 0),
    ]


@pytest.mark.parametrize("at", range(1, len(STORY)))
def test_a_span_may_lie_in_two_batches(make, at):
    assert told(make([ROWS], STORY[:at], STORY[at:])) == told(make([ROWS], STORY))


def test_vcpus_are_apart(make):
    other = [values | {"vcpu": 1, "t": values["t"] + 5} for values in STORY]
    both = sorted([*STORY, *other], key=lambda values: values["t"])
    trace = make([ROWS, [exit_(226, 526)]], both[:7], both[7:])
    found = told(trace)
    assert [[row["handled"] for row in found if row["vcpu"] == vcpu] for vcpu in (0, 1)] == [
        ["start", "kvm", "userspace", "interrupted", "open"]
    ] * 2


def test_an_instruction_that_came_to_userspace_twice(make):
    events = [vmexit(100, "ioio"), event(110, "userspace_exit"), event(310, "userspace_exit"), event(500, "entry")]
    [row] = told(make([[exit_(120, 300), exit_(320, 400)]], events))
    assert (row["rows"], row["user_ns"], row["handled"]) == (2, 260, "userspace")


def test_a_lost_entry(make):
    handled = [row["handled"] for row in told(make([ROWS], [vmexit(100), vmexit(200), event(250, "entry")]))]
    assert handled == ["lost", "userspace"]


def test_rows_without_any_kvm_exit_are_no_spans(make):
    trace = make([ROWS], [event(210, "userspace_exit")])
    assert (
        told(trace),
        [note for note in notes(trace, by_vcpu(trace), by_handling(summed(trace))) if "interprets" in note] != [],
    ) == ([], True)


def test_an_exit_of_unknown_name_has_its_number(make):
    [row] = told(make([ROWS], [vmexit(300, "unknown", reason=777), event(400, "entry")]))
    assert row["exit"] == "777"


def test_times_by_exit(make):
    events = [vmexit(100), event(110, "entry"), vmexit(200), event(230, "entry")]
    [row] = by_handling(summed(make([[exit_(1, 2)]], events))).to_pylist()
    assert row == {
        "exit": "npf", "handled": "kvm", "exits": 2, "time_ns": 40, "handling_ns": 0, "mean_ns": 20.0, "min_ns": 10,
        "max_ns": 30, "sd_ns": 10.0,
    }  # fmt: skip


def test_reasons(make):
    rows = by_reason(by_handling(summed(make([ROWS], STORY, summary=RAN)))).to_pylist()
    assert [
        (row["exit"], row["exits"], row["kvm"], row["userspace"], row["time_ns"], row["handling_ns"]) for row in rows
    ] == [
        ("msr", 1, 1, 0, 500, 0),
        ("ioio", 1, 0, 1, 400, 300),
        ("hlt", 1, 1, 0, 200, 0),
        ("npf", 1, 1, 0, 30, 0),
    ]
    assert [row["time_share"] for row in rows] == [pytest.approx(ns / 1130) for ns in (500, 400, 200, 30)]


def test_events_that_never_came_are_told(make):
    rows = {row["event"]: row["events"] for row in by_event(make([ROWS], STORY)).to_pylist()}
    assert (rows["kvm_exit"], rows["kvm_cpuid"], len(rows)) == (4, 0, len(NAMES))


def test_the_three_counts(make):
    closing = {"stats": {"start": [{"exits": 10}], "end": [{"exits": 14}]}, "interrupted": [1]}
    trace = make([ROWS], STORY, summary=closing, lost=[7])
    [row] = by_vcpu(trace).to_pylist()
    assert row == {
        "vcpu": 0, "kvm_exit": 4, "exits": 4, "returns": 1, "rows": 1, "errors": 1, "interrupted": 1, "lost": 7,
    }  # fmt: skip


@pytest.mark.parametrize("stats", [None, [], {"start": 1}, {"start": [{}], "end": [{"exits": "x"}]}])
def test_damaged_counters_are_none(make, stats):
    assert by_vcpu(make([ROWS], STORY, summary={"stats": stats})).to_pylist()[0]["exits"] is None


def test_the_file_is_in_order_whatever_the_batches(make):
    trace = make([ROWS], STORY[5:], STORY[:5])
    assert trace.tracepoints.table["t"].to_pylist() == [values["t"] for values in STORY]


def test_what_was_recorded_is_read(make):
    row = make([ROWS], [vmexit(1, "msr", vcpu=0, host_cpu=3, reason=0x7C, rip=9, info1=1, info2=2, a=5, b=1 << 63)])
    assert row.tracepoints.table.to_pylist() == [
        {"vcpu": 0, "t": 1, "event": "kvm_exit", "host_cpu": 3, "reason": 0x7C, "exit": "msr", "rip": 9, "info1": 1,
         "info2": 2, "a": 5, "b": 1 << 63}
    ]  # fmt: skip


def test_a_trace_without(tmp_path):
    record_all(tmp_path / "t.arrow", [ROWS])
    assert tracer.load(tmp_path / "t.arrow").tracepoints is None


PARTS = ("start_ns", "waiting_ns", "guest_ns", "kvm_ns", "halted_ns", "handling_ns", "paused_ns", "stopped_ns")


def times(trace):
    """The time of each vCPU; its parts are the length of the run."""
    whole = account(trace)
    rows = time_by_vcpu(summed(trace, whole), whole).to_pylist()
    assert [sum(row[part] for part in PARTS) for row in rows] == [whole.end] * len(rows)
    return [[row[part] for part in PARTS] for row in rows]


def test_where_the_time_of_each_vcpu_went(make):
    other = [values | {"vcpu": 1, "t": values["t"] + 5} for values in STORY]
    both = sorted([*STORY, *other], key=lambda values: values["t"])
    ran = {"duration_ns": 1600, "start_ns": [20, 25], "stop_ns": [1500, 1505], "open_ns": [None, None]}
    trace = make([ROWS, [exit_(225, 525)]], both[:7], both[7:], summary=ran)
    assert times(trace) == [[20, 30, 320, 630, 200, 300, 0, 100], [25, 30, 320, 630, 200, 300, 0, 95]]


LAST = FLAGS["LAST"]


@pytest.mark.parametrize("stats", [True, False])
def test_a_last_hlt_that_came_to_userspace_is_handling(make, stats):
    """vmrun had it until the run's end, which is later than the last event."""
    events = [event(50, "entry"), vmexit(100, "hlt"), event(110, "userspace_exit", reason=5, exit="hlt")]
    ran = {"duration_ns": 1600, "start_ns": [20], "stop_ns": [1500], "open_ns": [None]} if stats else {}
    trace = make([[exit_(120, 1500, reason="hlt", device=None, flags=LAST)]], events, summary=ran)
    stopped, start, waiting = (100, 20, 30) if stats else (0, 0, 50)
    assert times(trace) == [[start, waiting, 50, 20, 0, 1380, 0, stopped]]
    assert by_reason(by_handling(summed(trace))).to_pylist() == [
        {"exit": "hlt", "exits": 1, "kvm": 0, "userspace": 1, "time_share": 1.0, "time_ns": 1400, "handling_ns": 1380}
    ]


def test_a_last_hlt_in_kvm_is_halted_to_the_stop(make):
    events = [event(50, "entry"), vmexit(100, "hlt"), event(1490, "userspace_exit", a=4)]
    trace = make([[]], events, summary=RAN)
    assert times(trace) == [[20, 30, 50, 0, 1400, 0, 0, 100]]
    assert [(row["handled"], row["time_ns"]) for row in by_handling(summed(trace)).to_pylist()] == [("open", 1400)]


def test_a_guest_that_spins_to_the_end(make):
    assert times(make([[]], [vmexit(100), event(130, "entry")], summary=RAN)) == [[20, 0, 1450, 30, 0, 0, 0, 100]]


@pytest.mark.parametrize(
    ("exit", "expected"),
    [("npf", [20, 30, 50, 300, 0, 0, 1000, 100]), ("hlt", [20, 30, 50, 0, 300, 0, 1000, 100])],
)
def test_a_pause_is_in_neither_guest_nor_kvm(make, exit, expected):
    """A signal interrupts KVM_RUN, in which the guest was, or halted; the rest of the span is KVM's, or the hlt's."""
    events = [event(50, "entry"), vmexit(100, exit), event(110, "userspace_exit", a=4), event(1400, "entry")]
    times_of = RAN | {"paused_ns": [1000], "stop_ns": [1400], "duration_ns": 1500}
    assert times(make([[]], events, summary=times_of)) == [expected]


def test_a_processor_that_is_never_started_waits(make):
    ran = {"duration_ns": 1600, "start_ns": [20, 30], "stop_ns": [1500, 1600], "open_ns": [None, None]}
    assert times(make([ROWS, []], STORY, summary=ran))[1] == [30, 1570, 0, 0, 0, 0, 0, 0]


def test_the_two_tables_have_the_same_time(make):
    """The reasons' time is that of the vCPUs outside of the guest, once each was in it."""
    trace = make([ROWS], STORY, summary=RAN)
    [[_, _, _, *outside, _, _]] = times(trace)
    assert sum(by_reason(by_handling(summed(trace)))["time_ns"].to_pylist()) == sum(outside)


@pytest.mark.long
@DEAR
@given(st.data())
def test_the_parts_are_the_whole_and_none_is_negative(tmp_path_factory, data):
    """Any order of exits, whatever came to userspace, wherever the vCPU stopped."""
    t, events, rows = 20, [], []

    def later():
        nonlocal t
        t += data.draw(st.integers(1, 50))
        return t

    start = t
    for _ in range(data.draw(st.integers(0, 5))):
        events.append(event(later(), "entry"))
        events.append(vmexit(later(), data.draw(st.sampled_from(["hlt", "npf"]))))
        if data.draw(st.booleans()):
            events.append(event(later(), "userspace_exit"))
            rows.append(exit_(later(), later()))
    entered = data.draw(st.booleans())
    events += [event(later(), "entry")] if entered else []
    if rows and not entered and data.draw(st.booleans()):
        rows[-1][0]["flags"] |= LAST
    ran = {"start_ns": [start], "stop_ns": [later()], "open_ns": [None], "duration_ns": later()}
    folder = tmp_path_factory.mktemp("tracepoints")
    record_all(folder / "t.arrow", [rows], summary=ran)
    record(folder / "t.arrow", events)
    for found in times(tracer.load(folder / "t.arrow")):
        assert min(found) >= 0


ABOUT = [
    event(10, "msr", a=0x6E0, info1=1), event(11, "msr", a=0x6E0, info1=1), event(12, "msr", a=0x6E0),
    event(20, "cpuid", a=0xD, b=1), event(21, "cpuid", a=1, b=7), event(22, "cpuid", a=1, b=8), event(23, "cpuid", a=1),
    event(30, "pio", a=0x3FD), event(31, "pio", a=0x9999, info1=1),
    event(40, "mmio", a=0xFEE000B0, info1=2),
    event(50, "page_fault", a=0x1FFFFF), event(51, "page_fault", a=0x200000), event(52, "page_fault", a=0x3FF000),
    event(60, "inj_exception", a=14), event(61, "inj_virq", a=0xEC), event(62, "cr", a=4, info1=1),
    event(70, "set_irq", a=4, b=1), event(71, "entry"),
    event(80, "hypercall", a=10), event(81, "hypercall", a=99),
]  # fmt: skip


def test_what_the_events_were_about(make):
    for drains in ([ABOUT], [ABOUT[:5], ABOUT[5:]]):
        assert [tuple(row.values()) for row in by_detail(make([ROWS], *drains)).to_pylist()] == [
            ("kvm_cpuid", "0x1 version, features", "", 3),
            ("kvm_msr", "IA32_TSC_DEADLINE", "write", 2),
            ("kvm_page_fault", "0x200000 to 0x3fffff", "", 2),
            ("kvm_cpuid", "0xd XSAVE state: XSAVE features", "", 1),
            ("kvm_cr", "CR4", "write", 1),
            ("kvm_hypercall", "KVM_HC_SEND_IPI", "", 1),
            ("kvm_hypercall", "hypercall 99", "", 1),
            ("kvm_inj_exception", "#PF", "", 1),
            ("kvm_inj_virq", "vector 0xec", "", 1),
            ("kvm_mmio", "LAPIC EOI 0xfee000b0", "write", 1),
            ("kvm_msr", "IA32_TSC_DEADLINE", "read", 1),
            ("kvm_page_fault", "0x0 to 0x1fffff", "", 1),
            ("kvm_pio", "0x9999", "write", 1),
            ("kvm_pio", "COM1 LSR 0x3fd", "read", 1),
            ("kvm_set_irq", "GSI 4 raised", "", 1),
        ]


def test_a_guest_that_makes_too_many_different_things(make, monkeypatch):
    monkeypatch.setattr("tracer.analysis.tracepoint_details.KEPT", 4)
    ports = [event(t, "pio", a=0x9000 + port) for t, port in enumerate([1, 1, 1, 2, 2, 3, 4, 5, 6])]
    rows = {row["what"]: row["events"] for row in by_detail(make([ROWS], ports, ports)).to_pylist()}
    assert (rows["0x9001"], rows["(others)"], sum(rows.values())) == (6, 8, 18)


def test_the_command_says_how_to_get_them(tmp_path, capsys):
    record_all(tmp_path / "t.arrow", [ROWS])
    assert main(["tracepoints", str(tmp_path / "t.arrow")]) == 2
    assert "trace.tracepoints = true" in capsys.readouterr().err


def test_the_command(make, capsys):
    status = main(["tracepoints", str(make([ROWS], STORY).path)])
    out = capsys.readouterr().out
    assert (status, [word for word in ("reasons", "times", "vcpus", "events", "ioio") if word not in out]) == (0, [])


def test_either_reader_refuses_the_other_table(make):
    trace = make([ROWS], STORY)
    with pytest.raises(TraceError, match="has tracepoints, not exits: give the trace beside it"):
        tracer.load(trace.tracepoints.path)
    with pytest.raises(TraceError, match="has exits, not tracepoints"):
        TableFile(trace.path, TRACEPOINTS)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_damaged_file_is_an_error(make, part):
    trace = make([ROWS], STORY)
    data = trace.tracepoints.path.read_bytes()
    path = trace.tracepoints.path
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(TraceError):
        told(tracer.load(trace.path))


@pytest.mark.long
def test_mutated_tables_are_read_or_refused(make):
    trace = make([ROWS], STORY)
    content = trace.tracepoints.path.read_bytes()
    refused = 0
    for mutated in mutations(content, MUTATIONS):
        trace.tracepoints.path.write_bytes(mutated)
        try:
            mutant = tracer.load(trace.path)
            told(mutant)
            by_event(mutant)
            times = by_handling(summed(mutant))
            by_reason(times)
            time_by_vcpu(summed(mutant), account(mutant))
            by_detail(mutant)
            notes(mutant, by_vcpu(mutant), times)
        except TraceError:
            refused += 1
    assert refused > MUTATIONS // 20


def test_a_stream_that_cannot_be_written(tmp_path):
    recorder = TracepointRecorder(tmp_path / "absent" / "t.arrow", Source(STORY), dict, NAMES)
    recorder.start()
    with pytest.raises(TraceError, match="cannot write the tracepoints"):
        recorder.finish({})


def test_what_a_killed_run_left_is_set_aside(tmp_path):
    from tracer.format.paths import set_aside
    from vmspec.trace.files import table_stream_path

    path = tmp_path / "t.arrow"
    table_stream_path(path, "tracepoints").write_bytes(b"x")
    set_aside(path)
    assert [each.name for each in tmp_path.iterdir()] == ["t.killed.tracepoints.arrows"]


def formerly(trace):
    """The table of a trace, as it was written under its former name."""
    table, path = trace.tracepoints, trace.path.with_suffix(".kernel.arrow")
    former = {"vmrun.tracepoints.events": "vmrun.kernel.events", "vmrun.tracepoints.formats": "vmrun.kernel.formats"}
    metadata = {former.get(key, key): value for key, value in table.metadata.items()} | {"vmrun.format": "kernel-1"}
    schema = table.table.schema.with_metadata(metadata)
    with pyarrow.ipc.new_file(path, schema) as writer:
        writer.write_table(table.table.cast(schema))
    table.path.unlink()
    return path


def test_a_table_of_the_former_name_is_read(make):
    trace = make([ROWS], STORY)
    rows = trace.tracepoints.table.to_pylist()
    formerly(trace)
    again = tracer.load(trace.path)
    assert (again.tracepoints.table.to_pylist(), again.tracepoints.names["event"]) == (rows, tuple(NAMES))
    with pytest.warns(DeprecationWarning, match=r"now called Trace\.tracepoints"):
        assert again.kernel is again.tracepoints


def test_the_former_command_and_its_table(make, capsys):
    path = str(make([ROWS], STORY).path)
    assert main(["kernel", path]) == main(["tracepoints", path]) == 0
    first, *rest = capsys.readouterr().err.splitlines()
    assert (first, rest) == ("vmtrace: kernel is now called tracepoints", [])
    assert main(["export", path, "--csv", "--table", "kernel"]) == 0
    assert f"{path.removesuffix('.arrow')}.tracepoints.csv: " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "kernel" not in capsys.readouterr().out.rpartition("COMMAND")[2]


def test_a_copied_pair_stays_a_pair(make, tmp_path):
    trace = make([ROWS], STORY)
    shutil.copy(trace.path, tmp_path / "other.arrow")
    shutil.copy(trace.tracepoints.path, tmp_path / "other.tracepoints.arrow")
    assert tracer.load(tmp_path / "other.arrow").tracepoints.table.num_rows == len(STORY)


def test_the_columns_listed_are_those_printed(make, monkeypatch):
    shown = {}
    monkeypatch.setattr("tracer.commands.tracepoints.show", lambda tables, *_: shown.update(tables))
    assert main(["tracepoints", str(make([ROWS], STORY, summary=RAN).path)]) == 0
    assert {name: table.schema for name, table in shown.items()} == schemas()["tracepoints"]


def test_the_documentation_has_every_column_and_event():
    text = (Path(__file__).parents[3] / "docs" / "tracepoints.md").read_text()
    columns = [f"| {column.unit} | {column.doc} |" for column in COLUMNS]
    fields = [f"`{into.names[0]}`" for intos in EVENTS.values() for into in intos if into.slot not in ("reason", "isa")]
    assert [each for each in (*columns, *fields, *(f"| `{name}` |" for name in EVENTS)) if each not in text] == []
