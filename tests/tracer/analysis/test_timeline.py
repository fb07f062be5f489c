"""A console of known lines, and the time and exits between them."""

import pytest

import tracer
from tests.fakes.tracefakes import exit_, record_all
from tracer.analysis.merge import merge
from tracer.analysis.timeline import kernel_time, schemas, slowest_first, timeline
from tracer.format.errors import TraceError


@pytest.fixture
def boot(tmp_path):
    """Two lines of the kernel's with an access between them, then one of user space, on two vCPUs."""

    def line(t, text):
        return exit_(t, t + 100, data=text.encode() + b"\n")

    first = [
        line(1000, "[    0.000000] Linux version 6"),
        exit_(3000, 3500, addr=0x70, device="rtc0"),
        line(6000, "[    0.000004] Run /init as init process"),
        line(10_000, "hello"),
    ]
    other = [exit_(4000, 4700, addr=0x71, device="rtc0"), exit_(11_000, 11_500, addr=0x71, device="rtc0")]
    record_all(tmp_path / "boot.arrow", [first, other])
    return tracer.load(tmp_path / "boot.arrow")


def test_lines_have_what_came_before_them(boot):
    assert [tuple(row.values()) for row in timeline(boot).lines.to_pylist()] == [
        (1000, 1000, 0, 0, 0, 0, "[    0.000000] Linux version 6"),
        (6000, 5000, 0, 4000, 3, 1300, "[    0.000004] Run /init as init process"),
        (10_000, 4000, 0, None, 1, 100, "hello"),
        (11_500, 1500, 0, None, 2, 600, None),
    ]


def test_the_same_in_any_batches(boot, monkeypatch):
    whole = timeline(boot)
    batches = type(boot).batches

    asked = []

    def single(trace, columns=None):
        asked.append(columns)
        for batch in batches(trace, columns):
            yield from (batch.slice(at, 1) for at in range(batch.num_rows))

    monkeypatch.setattr(type(boot), "batches", single)
    again = timeline(boot)
    assert (again.lines, again.phases) == (whole.lines, whole.phases)
    assert asked[1:] == [["t_exit", "t_entry"]], "beside the console's columns none is read that is not needed"


@pytest.fixture
def merged(tmp_path):
    """Traces of one machine each, and one of them all, in the order of their own times."""

    def made(name, *traces):
        merge(traces, tmp_path / f"{name}.arrow", by_start=True)
        return tracer.load(tmp_path / f"{name}.arrow")

    def machine(name, *records, end):
        record_all(tmp_path / f"{name}.arrow", records, summary={"duration_ns": end, "stop_ns": [end] * len(records)})
        trace = tracer.load(tmp_path / f"{name}.arrow")
        trace.metadata |= {"vmrun.spec": f'[vm]\nname = "{name}"\n'}
        return trace

    a = machine(
        "a",
        [exit_(1000, 1200, device="rtc0"), exit_(2000, data=b"a\n")],
        [exit_(3500, 4000, device="rtc0")],
        end=4000,
    )
    b = machine("b", [exit_(2500, 3200, device="rtc0"), exit_(5000, 5700, data=b"b\n")], end=5700)
    both = made("both", a, b)
    return both, made("twice", both, machine("c", [exit_(100, device="rtc0")], end=9000))


@pytest.mark.parametrize(("device", "shown"), [("a/serial0", (3, 200, 4000)), ("b/serial0", (2, 700, 5700))])
def test_in_a_merged_trace_it_is_that_of_the_console_s_machine(merged, device, shown):
    """Its exits alone count, and its end ends it."""
    line, end = timeline(merged[0], device).lines.to_pylist()
    assert (line["exits"] + end["exits"], line["handling_ns"], end["t_ns"]) == shown


def test_a_machine_that_was_itself_merged_is_one(merged):
    twice = merged[1]
    device = next(name for name in twice.devices if name.endswith("/a/serial0"))
    assert sum(timeline(twice, device).lines["exits"].to_pylist()) == 5


def test_tables_have_the_schemas_that_are_told(boot):
    found = timeline(boot)
    assert {name: getattr(found, name).schema for name in schemas()} == schemas()
    assert found.device == "serial0"


def test_the_longest_gap_comes_first(boot):
    assert slowest_first(timeline(boot).lines)["gap_ns"].to_pylist() == [5000, 4000, 1500, 1000]


def test_a_console_without_known_lines_is_one_phase(boot):
    assert timeline(boot, phases={"never": "no such line"}).phases["phase"].to_pylist() == ["the whole run"]


def test_phases_of_a_linux_boot(boot):
    phases = timeline(boot).phases.to_pylist()
    assert [(row["phase"], row["t_ns"], row["time_ns"], row["exits"], row["lines"]) for row in phases] == [
        ("before the first line", 0, 1000, 0, 0),
        ("printing the log so far", 1000, 5000, 3, 1),
        ("init", 6000, 5500, 3, 2),
    ]
    assert [row["kernel_ns"] for row in phases] == [None, 4000, None]
    assert sum(row["share"] for row in phases) == pytest.approx(1)


def test_phases_of_ones_own(boot):
    phases = timeline(boot, phases={"mine": "^hel+o", "never": "absent"}).phases
    assert phases["phase"].to_pylist() == ["before mine", "mine"]


def test_a_pattern_that_is_none(boot):
    with pytest.raises(TraceError) as raised:
        timeline(boot, phases={"x": "("})
    assert str(raised.value).startswith("'(' is not a regular expression: missing )")


def test_phases_share_the_time_and_the_handling(boot):
    phases = timeline(boot).phases
    assert phases["handling_ns"].to_pylist() == [0, 1300, 700]
    assert phases["share"].to_pylist() == [1000 / 11_500, 5000 / 11_500, 5500 / 11_500]


def test_of_two_phases_that_one_line_begins_the_first_counts(boot):
    phases = timeline(boot, phases={"mine": "hello", "too": "^h", "init": "init process"}).phases
    assert phases["phase"].to_pylist() == ["before init", "init", "mine"]


def test_the_kernel_s_time_goes_on_over_lines_without_it(tmp_path):
    texts = ["[    1.000000] a", "b", "[    1.000005] c", "[    1.000006] d"]
    record_all(tmp_path / "boot.arrow", [[exit_(1000 * at, data=f"{x}\n".encode()) for at, x in enumerate(texts, 1)]])
    found = timeline(tracer.load(tmp_path / "boot.arrow"), phases={"a": " a", "b": "b", "d": " d"})
    assert found.lines["kernel_ns"].to_pylist() == [1_000_000_000, None, 5000, 1000, None]
    assert found.phases["kernel_ns"].to_pylist() == [None, None, 1000, None]


def test_a_run_of_no_length_has_no_shares(tmp_path):
    record_all(tmp_path / "boot.arrow", [[]], summary={"duration_ns": 0})
    assert timeline(tracer.load(tmp_path / "boot.arrow")).phases.select(["phase", "share"]).to_pylist() == [
        {"phase": "the whole run", "share": None}
    ]


def test_of_equal_gaps_the_earlier_comes_first(tmp_path):
    record_all(tmp_path / "boot.arrow", [[exit_(1000 * at, data=b"%d\n" % at) for at in range(1, 4)]])
    lines = slowest_first(timeline(tracer.load(tmp_path / "boot.arrow")).lines)
    assert lines["line"].to_pylist() == ["1", "2", "3", None]


def test_a_machine_without_lines(tmp_path):
    record_all(tmp_path / "boot.arrow", [[exit_(1000, 1200, addr=0x70, device="rtc0")]])
    found = timeline(tracer.load(tmp_path / "boot.arrow"))
    assert [tuple(row.values()) for row in found.lines.to_pylist()] == [(1200, 1200, 0, None, 1, 200, None)]
    assert found.phases["time_ns"].to_pylist() == [1200]


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("[    1.234567] x", 1_234_567_000),
        ("[    1.234567][    T1] x", 1_234_567_000),
        ("<6>[   12.000001] x", 12_000_001_000),
        ("[ 1.2] x", None),
        ("login:", None),
    ],
)
def test_the_kernels_time(text, ns):
    assert kernel_time(text) == ns


def test_it_goes_to_the_run_s_end(tmp_path):
    record_all(tmp_path / "boot.arrow", [[exit_(1000, data=b"a\n")]], summary={"duration_ns": 3_000_000})
    found = timeline(tracer.load(tmp_path / "boot.arrow"))
    assert slowest_first(found.lines).to_pylist()[0] == {
        "t_ns": 3_000_000, "gap_ns": 2_999_000, "paused_ns": 0, "kernel_ns": None, "exits": 1,
        "handling_ns": 100, "line": None,
    }  # fmt: skip
    assert found.phases["time_ns"].to_pylist() == [3_000_000]


def test_a_run_that_printed_nothing_has_its_length(tmp_path):
    record_all(tmp_path / "boot.arrow", [[]], summary={"duration_ns": 3_000_000})
    assert timeline(tracer.load(tmp_path / "boot.arrow")).lines["gap_ns"].to_pylist() == [3_000_000]


def test_of_very_many_lines_the_first_and_the_last_are_told_apart(tmp_path):
    lines = [exit_(1000 * at, data=b"%d\n" % at) for at in range(1, 10)]
    record_all(tmp_path / "boot.arrow", [lines], summary={"duration_ns": 10_000})
    phases = {"first": "1", "last": "8", "never": "absent"}
    found = timeline(tracer.load(tmp_path / "boot.arrow"), phases=phases, keep=2)
    left_out = "(5 lines are left out here)"
    assert found.lines["line"].to_pylist() == ["1", "2", left_out, "8", "9", None]
    assert found.lines["gap_ns"].to_pylist() == [1000, 1000, 1000, 5000, 1000, 1000]
    assert found.lines["exits"].to_pylist() == [0, 1, 1, 5, 1, 1]
    assert (found.count, found.left_out, found.at) == (9, 5, 2)
    assert [tuple(row.values()) for row in found.phases.select(["phase", "t_ns", "lines"]).to_pylist()] == [
        ("before the first line", 0, 0),
        ("first", 1000, 7),
        ("last", 8000, 2),
    ]


@pytest.fixture
def paused(tmp_path):
    """Two lines of vCPU 0, with a pause before the first, one between them and one after the second; vCPU 1 stopped
    before the last. Both vCPUs stand still for a part of each pause."""
    lines = [exit_(3000, data=b"a\n"), exit_(8000, data=b"b\n")]
    summary = {
        "duration_ns": 12_000,
        "start_ns": [100, 1500],
        "stop_ns": [12_000, 9000],
        "pauses_ns": [[[1000, 2000], [5000, 7500], [10_000, 11_500]], [[1900, 2100], [4800, 7000]]],
    }
    record_all(tmp_path / "boot.arrow", [lines, []], summary=summary)
    return tracer.load(tmp_path / "boot.arrow")


def test_a_pause_is_when_no_vcpu_runs(paused):
    stood = [tuple(row.values()) for row in timeline(paused).pauses.to_pylist()]
    assert stood == [(1000, 500), (1900, 100), (5000, 2000), (10_000, 1500)]


def test_pauses_are_in_no_gap_and_no_phase(paused):
    found = timeline(paused, phases={"mine": "a"})
    assert found.lines.select(["t_ns", "gap_ns", "paused_ns"]).to_pylist() == [
        {"t_ns": 3000, "gap_ns": 2400, "paused_ns": 600},
        {"t_ns": 8000, "gap_ns": 3000, "paused_ns": 2000},
        {"t_ns": 12_000, "gap_ns": 2500, "paused_ns": 1500},
    ]
    assert found.phases.select(["t_ns", "time_ns", "paused_ns"]).to_pylist() == [
        {"t_ns": 0, "time_ns": 2400, "paused_ns": 600},
        {"t_ns": 3000, "time_ns": 5500, "paused_ns": 3500},
    ]
    assert sum(found.phases["share"].to_pylist()) == pytest.approx(1)


def test_a_console_s_machine_has_its_own_pauses(tmp_path):
    for name in ("a", "b"):
        pauses = [[[200, 500]]] if name == "a" else [[]]
        summary = {"duration_ns": 1000, "start_ns": [0], "stop_ns": [1000], "paused_ns": [0], "pauses_ns": pauses}
        record_all(tmp_path / f"{name}.arrow", [[exit_(700, data=b"x\n")]], summary=summary)
    merge([tracer.load(tmp_path / f"{name}.arrow") for name in "ab"], tmp_path / "both.arrow", by_start=True)
    both = tracer.load(tmp_path / "both.arrow")
    assert [timeline(both, f"{name}/serial0").lines["paused_ns"].to_pylist() for name in "ab"] == [[300, 0], [0, 0]]
