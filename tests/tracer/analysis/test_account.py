"""The account of each vCPU's time: its parts add up to the run's length."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracer
from tests.fakes.tracefakes import exit_, record_all
from tracer.analysis.account import Life, Rows, account, account_of, balance, divided, pauses, run_end, within
from tracer.export.rows import Stay, stays
from vmspec.trace.record import FLAGS

PARTS = ("start_ns", "kvm_run_ns", "handling_ns", "paused_ns", "stopped_ns")


def traced(path, records, summary):
    record_all(path, records, summary=summary)
    return tracer.load(path)


def parts(trace):
    return [tuple(getattr(life, part) for part in PARTS) for life in account(trace).vcpus.values()]


@st.composite
def runs(draw):
    """Rows and summary of a run: of each vCPU rising times, which are its start, its exits and entries, its stop."""
    records, lives = [], []
    for _ in range(draw(st.integers(1, 3))):
        times = sorted(draw(st.lists(st.integers(0, 10_000), min_size=2, max_size=13)))
        start, stop, between = times[0], times[-1], times[1:-1]
        opened = between.pop() if len(between) % 2 else None
        exits = list(zip(between[::2], between[1::2], strict=True))
        handling = sum(entry - t for t, entry in exits) + (0 if opened is None else stop - opened)
        paused = draw(st.integers(0, stop - start - handling))
        records.append([exit_(t, entry) for t, entry in exits])
        lives.append((start, stop, opened, exits, handling, paused))
    summary = {
        "rows": [len(list_) for list_ in records],
        "duration_ns": max(stop for _, stop, *_ in lives),
        "start_ns": [start for start, *_ in lives],
        "stop_ns": [stop for _, stop, *_ in lives],
        "open_ns": [opened for _, _, opened, *_ in lives],
        "paused_ns": [life[-1] for life in lives],
    }
    return records, summary, lives


@pytest.mark.long
@given(runs())
def test_each_part_is_what_it_says(tmp_path_factory, run):
    records, summary, lives = run
    expected = []
    for start, stop, _, _, handling, paused in lives:
        expected.append((start, stop - start - handling - paused, handling, paused, summary["duration_ns"] - stop))
    assert parts(traced(tmp_path_factory.mktemp("account") / "boot.arrow", records, summary)) == expected


anything = st.one_of(st.none(), st.integers(-5, 1 << 65), st.text(max_size=3), st.booleans())
spans = st.lists(
    st.lists(st.lists(st.integers(-5, 20_000), min_size=2, max_size=2).map(sorted), max_size=4), max_size=4
)
damaged = st.one_of(anything, st.lists(anything, max_size=4), spans)
KEYS = ("duration_ns", "start_ns", "stop_ns", "open_ns", "paused_ns", "pauses_ns", "rows", "clocks", "stats")


@pytest.mark.long
@given(runs(), st.dictionaries(st.sampled_from(KEYS), damaged))
def test_the_parts_are_the_whole_whatever_the_summary_says(tmp_path_factory, run, damage):
    records, summary, _ = run
    trace = traced(tmp_path_factory.mktemp("account") / "boot.arrow", records, summary | damage)
    whole = account(trace).end
    for life in account(trace).vcpus.values():
        assert sum(getattr(life, part) for part in PARTS) == whole
        assert min(getattr(life, part) for part in PARTS) >= 0


@st.composite
def divided_runs(draw):
    """A run of one vCPU as consecutive pieces of its time, in KVM_RUN, paused or handling an exit, and both ends."""
    pieces = draw(
        st.lists(st.tuples(st.sampled_from(("KVM_RUN", "paused", "exit")), st.integers(1, 1000)), max_size=12)
    )
    return pieces, draw(st.integers(0, 1000)), draw(st.integers(0, 1000))


@pytest.mark.long
@given(divided_runs())
def test_pauses_anywhere(tmp_path_factory, run):
    """At the start, between two exits, at the end, one after the other: the account and what is exported agree."""
    pieces, start, stopped = run
    t, spent = start, {"KVM_RUN": 0, "paused": 0, "exit": 0}
    records, pauses = [], []
    for kind, length in pieces:
        spent[kind] += length
        if kind == "exit":
            records.append(exit_(t, t + length))
        elif kind == "paused":
            pauses.append([t, t + length])
        t += length
    summary = {"duration_ns": t + stopped, "start_ns": [start], "stop_ns": [t], "open_ns": [None]}
    summary |= {"paused_ns": [spent["paused"]], "pauses_ns": [pauses]}
    trace = traced(tmp_path_factory.mktemp("account") / "boot.arrow", [records], summary)
    assert parts(trace) == [(start, spent["KVM_RUN"], spent["exit"], spent["paused"], stopped)]
    exported = Counter()
    for stay in stays(trace):
        if isinstance(stay, Stay):
            exported[stay.name] += stay.stop - stay.start
    assert (exported["KVM_RUN"], exported["paused"]) == (spent["KVM_RUN"], spent["paused"])


@pytest.mark.long
@given(runs())
def test_the_two_ends_of_a_file_are_enough(tmp_path_factory, run):
    records, summary, lives = run
    trace = traced(tmp_path_factory.mktemp("account") / "boot.arrow", records, summary)
    handled = {
        vcpu: (len(exits), sum(entry - t for t, entry in exits)) for vcpu, (_, _, _, exits, *_) in enumerate(lives)
    }
    assert account_of(trace, {vcpu: known for vcpu, known in handled.items() if known[0]}) == account(trace)


@pytest.fixture
def long_run(tmp_path, monkeypatch):
    """Three exits of one vCPU around one of another, each in a batch; the account, and the batches that are read."""
    records = [[exit_(1000, 1100), exit_(5000, 5200), exit_(9000, 9400)], [exit_(3000, 3800)]]
    trace = traced(tmp_path / "boot.arrow", records, {"duration_ns": 10_000})
    expected, batches, read = account(trace), type(trace).batches, []

    def single(trace, columns, which=slice(None)):
        assert set(columns) == {"vcpu", "t_exit", "t_entry", "flags"}, "no more is read than is needed"
        [batch] = batches(trace, columns)
        for at in range(batch.num_rows)[which]:
            read.append(at)
            yield batch.slice(at, 1)

    monkeypatch.setattr(type(trace), "batches", single)
    return trace, expected, read


def test_a_file_is_read_until_each_vcpu_has_been_met(long_run):
    trace, expected, read = long_run
    assert account_of(trace, {0: (3, 700), 1: (1, 800)}) == expected
    assert read == [0, 1, 3, 2, 1]  # from its start, and from its end


def test_of_a_vcpu_without_known_exits_no_row_is_read(long_run):
    trace, expected, read = long_run
    assert account_of(trace, {}).vcpus == {}
    assert read == []
    assert account_of(trace, {0: (3, 700)}).vcpus == {0: expected.vcpus[0]}


def test_a_stream_is_read_whole_as_it_may_have_grown(long_run, monkeypatch):
    trace, expected, _ = long_run
    monkeypatch.setattr(type(trace), "kind", "stream")
    assert account_of(trace, {0: (1, 1), 1: (1, 1)}) == expected


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        # Of the second vCPU there are no rows: that it exists is in the summary.
        ({"rows": [1, 0]}, [(0, 2900, 100, 0, 0), (0, 3000, 0, 0, 0)]),
        ({"start_ns": [100, None]}, [(100, 2800, 100, 0, 0), (3000, 0, 0, 0, 0)]),
        ({"stop_ns": [3000, 2000]}, [(0, 2900, 100, 0, 0), (0, 2000, 0, 0, 1000)]),
        ({"start_ns": [0, 0], "stop_ns": [3000, 0]}, [(0, 2900, 100, 0, 0), (0, 0, 0, 0, 3000)]),
        ({"rows": [1, 0], "start_ns": [100]}, [(100, 2800, 100, 0, 0), (0, 3000, 0, 0, 0)]),
        # The run was longer than its vCPUs ran, and its last exit was being handled to the end, or not at all.
        ({"stop_ns": [2000]}, [(0, 1900, 100, 0, 1000)]),
        ({"stop_ns": [2000], "open_ns": [1100]}, [(0, 1000, 1000, 0, 1000)]),
        ({"stop_ns": [2000], "open_ns": [2000]}, [(0, 1900, 100, 0, 1000)]),
        ({"stop_ns": [2000], "open_ns": [2001]}, [(0, 1900, 100, 0, 1000)]),
        # What no time can be is not said.
        ({"stop_ns": [1 << 62], "start_ns": [-1]}, [(0, 2900, 100, 0, 0)]),
        ({"stop_ns": ["2000"], "start_ns": 5, "rows": 2}, [(0, 2900, 100, 0, 0)]),
    ],
)
def test_what_the_summary_says_of_each_vcpu(tmp_path, summary, expected):
    assert parts(traced(tmp_path / "boot.arrow", [HANG], {"duration_ns": 3000} | summary)) == expected


def test_the_stop_that_is_said_counts_for_a_vcpu_that_halted(tmp_path):
    halted = exit_(1000, 1100, reason="hlt", device=None, flags=FLAGS["LAST"])
    summary = {"duration_ns": 3000, "stop_ns": [1500]}
    assert parts(traced(tmp_path / "boot.arrow", [[halted]], summary)) == [(0, 1400, 100, 0, 1500)]


def test_all_of_a_vcpu_s_life(tmp_path):
    summary = {"duration_ns": 3000, "start_ns": [100, 200], "stop_ns": [2500, 2600], "open_ns": [2000, None]}
    summary |= {"stats": {"start": [{"halt_wait_ns": 0}] * 2, "end": [{"halt_wait_ns": 1}, {"halt_wait_ns": 9999}]}}
    first, second = account(traced(tmp_path / "boot.arrow", [HANG, []], summary)).vcpus.values()
    assert first == Life(0, 1, 600, 0, start=100, entered=1100, open=2000, stop=2500, end=3000, halted_ns=1)
    assert second == Life(1, 0, 0, 0, start=200, entered=200, open=None, stop=2600, end=3000, halted_ns=2400)


@pytest.mark.parametrize(("spec", "vcpus"), [({"vm": {"vcpus": 2}}, 2), ({"vm": {}}, 0), ({"vm": 3}, 0), ({}, 0)])
def test_without_a_summary_the_spec_says_how_many_vcpus_there_are(spec, vcpus):
    found = balance(None, spec, {})
    assert (found.end, list(found.vcpus)) == (0, list(range(vcpus)))


@pytest.mark.parametrize(
    ("later", "both"),
    [
        (Rows(2, 50, 200, 300, None), Rows(5, 150, 100, 300, 150)),
        (Rows(2, 50, 200, 300, 300), Rows(5, 150, 100, 300, 300)),
        (Rows(2, 50, 90, 140, None), Rows(5, 150, 90, 150, 150)),
    ],
)
def test_rows_of_a_vcpu_are_joined_to_those_before(later, both):
    assert Rows(3, 100, 100, 150, 150).joined(later) == both


HANG = [exit_(1000, 1100)]


def test_a_hang_is_in_kvm_run_until_its_end(tmp_path):
    summary = {"duration_ns": 3_000_000, "start_ns": [100], "stop_ns": [3_000_000], "open_ns": [None]}
    assert parts(traced(tmp_path / "boot.arrow", [HANG], summary)) == [(100, 2_999_800, 100, 0, 0)]


def test_a_guest_without_exits_has_an_account(tmp_path):
    summary = {"duration_ns": 3_000_000, "start_ns": [100], "stop_ns": [3_000_000], "open_ns": [None], "rows": [0]}
    assert parts(traced(tmp_path / "boot.arrow", [[]], summary)) == [(100, 2_999_900, 0, 0, 0)]


def test_a_device_that_does_not_come_back_is_handling(tmp_path):
    summary = {"duration_ns": 3_000_000, "start_ns": [100], "stop_ns": [None], "open_ns": [2000]}
    assert parts(traced(tmp_path / "boot.arrow", [HANG], summary)) == [(100, 1800, 2_998_100, 0, 0)]


def test_the_paused_time_is_not_in_kvm_run(tmp_path):
    summary = {"duration_ns": 3000, "start_ns": [100], "stop_ns": [3000], "open_ns": [None], "paused_ns": [1500]}
    assert parts(traced(tmp_path / "boot.arrow", [HANG], summary)) == [(100, 1300, 100, 1500, 0)]


def test_ticks_of_many_pauses_may_be_a_rounding_more_than_the_run(tmp_path):
    summary = {"duration_ns": 3000, "start_ns": [100], "stop_ns": [3000], "open_ns": [None], "paused_ns": [2801]}
    assert parts(traced(tmp_path / "boot.arrow", [HANG], summary)) == [(100, 0, 100, 2800, 0)]


def test_pauses_that_are_not_known_one_by_one_count(tmp_path):
    summary = {"duration_ns": 3000, "start_ns": [100], "stop_ns": [3000], "open_ns": [None], "paused_ns": [1500]}
    trace = traced(tmp_path / "boot.arrow", [HANG], summary | {"pauses_ns": [[[200, 300], [2000, 2100]]]})
    assert parts(trace) == [(100, 1300, 100, 1500, 0)]
    assert account(trace).vcpus[0].pauses == ((200, 300), (2000, 2100))


@pytest.mark.parametrize(
    ("spans", "shown"),
    [
        ([[50, 150], [2900, 9000]], [(100, 150), (2900, 3000)]),  # beyond the vCPU's own time
        ([[200, 400], [300, 500], [450, 460]], [(200, 400), (400, 500)]),  # one in the other
        ([[200, 200]], []),
        ([[300, 200]], []),
    ],
)
def test_pauses_that_cannot_be(tmp_path, spans, shown):
    summary = {"duration_ns": 3000, "start_ns": [100], "stop_ns": [3000], "open_ns": [None], "pauses_ns": [spans]}
    assert list(account(traced(tmp_path / "boot.arrow", [HANG], summary)).vcpus[0].pauses) == shown


@pytest.mark.parametrize(
    ("lives", "stood"),
    [
        # The first has stopped and the second not begun: nothing ran, but nobody paused the machine.
        ([(0, 500, [[100, 200]]), (700, 1000, [])], [(100, 200)]),
        # One that stops while it is paused: the machine still stands.
        ([(0, 1000, [[100, 500]]), (0, 300, [[100, 300]])], [(100, 500)]),
        ([(0, 1000, [[100, 500]]), (0, 1000, [[200, 600]])], [(200, 500)]),
        ([(0, 1000, [[100, 500]]), (0, 1000, [])], []),
    ],
)
def test_a_machine_is_paused_while_a_vcpu_is_and_none_runs(tmp_path, lives, stood):
    summary = {"duration_ns": 1000, "rows": [0] * len(lives)}
    summary |= {"start_ns": [start for start, *_ in lives], "stop_ns": [stop for _, stop, _ in lives]}
    summary |= {"pauses_ns": [spans for *_, spans in lives]}
    assert pauses(traced(tmp_path / "boot.arrow", [[] for _ in lives], summary)) == stood


@pytest.mark.parametrize(
    ("start", "end", "spans", "parts"),
    [
        (0, 10, [], [(0, 10, False)]),
        (0, 10, [(2, 4), (20, 30)], [(0, 2, False), (2, 4, True), (4, 10, False)]),
        (2, 10, [(2, 4), (4, 6)], [(2, 4, True), (4, 6, True), (6, 10, False)]),
        (3, 5, [(0, 1), (2, 9)], [(3, 5, True)]),
        (3, 5, [(1, 3), (5, 7)], [(3, 5, False)]),
    ],
)
def test_a_time_is_divided_at_spans(start, end, spans, parts):
    assert list(divided(start, end, spans)) == parts
    assert within(start, end, spans) == sum(stop - begin for begin, stop, inside in parts if inside)


def test_a_vcpu_that_halted_for_good_has_stopped(tmp_path):
    halted = exit_(1000, 1100, reason="hlt", device=None, flags=FLAGS["LAST"])
    assert parts(traced(tmp_path / "boot.arrow", [[halted], HANG], {"duration_ns": 3000})) == [
        (0, 1000, 100, 0, 1900),
        (0, 2900, 100, 0, 0),
    ]


def test_an_older_trace_has_its_vcpus_in_kvm_run_from_0_to_its_length(tmp_path):
    assert parts(traced(tmp_path / "boot.arrow", [HANG], {"duration_ns": 3000})) == [(0, 2900, 100, 0, 0)]


def test_without_a_length_the_run_ends_with_the_latest_time_known(tmp_path):
    trace = traced(tmp_path / "boot.arrow", [HANG, [exit_(5000, 6000)]], {})
    assert parts(trace) == [(0, 5900, 100, 0, 0), (0, 5000, 1000, 0, 0)]


def test_a_row_that_came_after_the_summary_counts(tmp_path):
    summary = {"duration_ns": 1050, "start_ns": [100], "stop_ns": [None], "open_ns": [1000]}
    assert parts(traced(tmp_path / "boot.arrow", [HANG], summary)) == [(100, 900, 100, 0, 0)]


@pytest.mark.parametrize(("halted", "expected"), [(500, 505), (5000, 2900)])
def test_halted_lies_within_kvm_run_by_the_trace_s_clock(tmp_path, halted, expected):
    summary = {
        "duration_ns": 3000,
        "stats": {"start": [{"halt_wait_ns": 0}], "end": [{"halt_wait_ns": halted}]},
        "clocks": {"trace_ns": 10_100, "monotonic_ns": 10_000},
    }
    assert account(traced(tmp_path / "boot.arrow", [HANG], summary)).vcpus[0].halted_ns == expected


def test_the_end_is_the_same_without_the_rows(tmp_path):
    summary = {"duration_ns": 3000, "start_ns": [100, 100], "stop_ns": [2000, 3000], "open_ns": [None, None]}
    trace = traced(tmp_path / "boot.arrow", [HANG, HANG], summary)
    assert run_end(trace) == account(trace).end == 3000


def test_of_a_run_of_which_nothing_is_said_it_is_its_begin(tmp_path):
    assert run_end(traced(tmp_path / "boot.arrow", [[]], {})) == 0


def test_of_some_vcpus_it_is_their_own(tmp_path):
    summary = {"duration_ns": 3000, "start_ns": [100, 100], "stop_ns": [2000, 3000], "open_ns": [None, None]}
    assert run_end(traced(tmp_path / "boot.arrow", [HANG, HANG], summary), 1100, [0]) == 2000
