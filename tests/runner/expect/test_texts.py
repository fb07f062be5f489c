from hypothesis import given
from hypothesis import strategies as st

from runner.expect.texts import REACH, Watch

# Few letters, so that texts often begin in one another.
TEXT = st.text("ab", min_size=1, max_size=4)


def fed(watch, *pieces):
    for piece in pieces:
        watch.feed(piece)
    return watch


def test_texts_are_found_in_their_order():
    assert fed(Watch(["one", "two"], []), b"one two").missing() == []


def test_a_text_that_comes_before_its_turn_does_not_count():
    assert fed(Watch(["one", "two"], []), b"two one").missing() == ["two"]


def test_texts_do_not_share_bytes():
    assert fed(Watch(["aba", "aba"], []), b"ababa").missing() == ["aba"]


def test_a_text_that_never_comes_keeps_those_after_it_missing():
    assert fed(Watch(["one", "two", "three"], []), b"one three").missing() == ["two", "three"]


def test_carriage_returns_are_left_out():
    assert fed(Watch(["login:\nroot"], []), b"login:\r", b"\nro\r\rot").missing() == []
    assert fed(Watch(["login:\r\nroot"], ["o\rot"]), b"login:\r\nroot").missing() == []
    assert fed(Watch([], ["o\rot"]), b"root").unwanted() == ["oot"]


def test_unwanted_texts_are_told_in_the_order_of_the_spec():
    assert fed(Watch([], ["panic", "oops", "warn"]), b"warn, then panic").unwanted() == ["panic", "warn"]


def test_texts_beyond_ascii():
    assert fed(Watch(["grüß"], ["über"]), "grü".encode(), "ß über".encode()).missing() == []


@given(st.lists(TEXT, max_size=3), st.lists(TEXT, max_size=3), st.text("ab\r", max_size=30), st.data())
def test_how_the_stream_is_cut_makes_no_difference(wanted, unwanted, stream, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[a:b].encode() for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole, cut = fed(Watch(wanted, unwanted), stream.encode()), fed(Watch(wanted, unwanted), *pieces)
    assert (cut.missing(), cut.unwanted()) == (whole.missing(), whole.unwanted())


@given(st.lists(TEXT, max_size=3), st.text("ab", max_size=30))
def test_order_as_a_plain_search_finds_it(wanted, stream):
    at, expected = 0, list(wanted)
    while expected and (found := stream.find(expected[0], at)) >= 0:
        at = found + len(expected.pop(0))
    assert fed(Watch(wanted, []), stream.encode()).missing() == expected


@given(st.lists(TEXT, max_size=3), st.text("ab", max_size=30), st.integers(1, 5))
def test_absent_texts_as_a_plain_search_finds_them(unwanted, stream, step):
    pieces = [stream[at : at + step].encode() for at in range(0, len(stream), step)]
    assert fed(Watch([], unwanted), *pieces).unwanted() == [text for text in unwanted if text in stream]


def sentences(watch, console=b""):
    return [(one.key, f"{one.expected}; {one.came}", one.look) for one in watch.unmet(console)]


def test_the_first_text_that_is_missing_is_named_with_the_last_line():
    watch = fed(Watch(["one", "two", "three"], []), text := b"one\nthr\x1bee\r\n\n")
    assert sentences(watch, text) == [
        (
            "expect.console[1]",
            "'two' on the console after 'one' (and then 1 more); it never came, and the last line is 'thr\\x1bee'",
            "vmtrace console",
        )
    ]


def test_a_console_that_printed_nothing():
    assert sentences(Watch(["one"], [])) == [
        ("expect.console[0]", "'one' on the console; the console printed nothing", "vmtrace console")
    ]


def test_each_rejected_text_is_named():
    watch = fed(Watch([], ["oops", "panic", "warn"]), b"warn, then oops")
    assert sentences(watch) == [
        ("expect.absent[0]", "no 'oops' on the console; the console printed it", "vmtrace console"),
        ("expect.absent[2]", "no 'warn' on the console; the console printed it", "vmtrace console"),
    ]


@given(st.binary(max_size=2 * REACH))
def test_the_last_line_is_safe_to_print(console):
    for key, sentence, _ in sentences(Watch(["one"], []), console):
        assert key.isprintable()
        assert sentence.isprintable()
