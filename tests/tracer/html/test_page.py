"""The page: its contents, that it needs nothing else, and that all text of a trace is escaped."""

import json
import re
from html.parser import HTMLParser

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.examples import DEAR
from tests.fakes.requestfakes import request, write_requests
from tests.fakes.smallboot import exits_of_a_boot
from tests.fakes.tracefakes import exit_
from tests.fakes.tracepointfakes import RAN, ROWS, STORY
from tests.fakes.tracepointfakes import record as record_tracepoints

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u202e'\"&\x00\x1b[31m"


class Reader(HTMLParser):
    """The elements of a page, the text of each script, and all text outside of them."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.scripts, self.words, self._in = [], [], [], [], None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self._in = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._in = None

    def handle_data(self, data):
        if self._in == "script":
            self.scripts[-1] += data
        elif self._in != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def test_it_says_what_was_run_and_how_it_ended(boot, page):
    text = Reader(page(boot)).text
    for expected in ("Ended reset, status 0", "vCPUs 2", "Memory 256MiB", "Exits 69", "Trace complete",
                     "vmlinuz sha256 " + "ab" * 32, "command line console=ttyS0", "first line", "0xcf8"):  # fmt: skip
        assert expected in text


def test_a_file_that_was_written_to_before_it_was_hashed_is_told(record, page):
    images = json.dumps({"serial0/input": {"path": "/tmp/typed", "sha256": ""}})
    made = page(record([[exit_(1)]], metadata={"vmrun.images": images}))
    assert "typed sha256 not known: it was being written as the run began" in Reader(made).text


def test_a_trace_that_is_not_complete_says_so(record, page):
    assert "NOT COMPLETE" in Reader(page(record([[exit_(1)]], summary={"complete": False}))).text


def test_a_trace_without_exits_has_a_page(record, page):
    assert "Nothing was printed." in Reader(page(record([[]]))).text


def test_a_hang_is_in_kvm_run_to_its_end(record, page):
    stats = {"start": [{"halt_wait_ns": 0}], "end": [{"halt_wait_ns": 2 * 10**9}]}
    closing = {"duration_ns": 3 * 10**9, "start_ns": [1000], "stop_ns": [3 * 10**9], "open_ns": [None], "stats": stats}
    text = Reader(page(record([[exit_(1_000_000, data=b"a\n")]], summary=closing))).text
    assert "0 1 1.00 us 1.00 s 2.00 s 100 ns 0 ns" in text
    assert "Length 3.00 s" in text
    assert "0.001 s 3.00 s 1 100 ns (the end of the run)" in text


def test_tracepoints(tmp_path, page, record):
    path = record([ROWS], summary=RAN)
    assert "Tracepoints" not in Reader(page(path)).text
    record_tracepoints(path, STORY)
    text = Reader(page(path)).text
    for expected in ("Tracepoints", "0 20 ns 30 ns 320 ns 630 ns 200 ns 300 ns 0 ns 100 ns", "ioio 1 0 1",
                     "kvm_page_fault 0x0 to 0x1fffff 1", "kvm_cpuid 0"):  # fmt: skip
        assert expected in text


def test_symbols_stand_beside_rips(boot, page):
    assert "serial_out+0x4" in Reader(page(boot, symbols={0xFFFFFFFF81000000: "serial_out+0x4"}.get)).text
    assert "symbol" not in Reader(page(boot)).text


def test_nothing_is_loaded_from_anywhere(boot, page):
    html = page(boot)
    reader = Reader(html)
    assert not {"iframe", "object", "embed", "base", "form"} & set(reader.tags)
    loading = {"src", "href", "srcset", "action", "poster", "background", "data"}
    assert [found for found in reader.attributes if found[1] in loading] == [("link", "href", "data:,")]
    policy = dict(rule.split(" ", 1) for rule in policy_of(reader).split("; "))
    assert (policy["default-src"], policy["img-src"]) == ("'none'", "data: blob:")
    assert "connect-src" not in policy
    outside_scripts = re.sub(r"<script>.*?</script>", "", html, flags=re.S)
    assert "://" not in outside_scripts
    assert "url(" not in outside_scripts


def policy_of(reader):
    return next(value for tag, name, value in reader.attributes if tag == "meta" and value and "default-src" in value)


def test_only_the_pages_own_scripts_may_run(boot, page):
    import base64
    import hashlib

    reader = Reader(page(boot))
    data, *scripts = reader.scripts
    json.loads(data)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    assert len(scripts) == 2
    assert f"script-src {allowed};" in policy_of(reader)


def hostile(text):
    """A boot whose console, device names, spec, images, host and overrides all say ``text``."""
    return {
        "records": lambda: [
            [exit_(1000 * at, data=bytes([byte])) for at, byte in enumerate(text.encode("utf-8", "replace"))]
            + [exit_(9_000_000, addr=1, device=text)]
        ],
        "devices": ["serial0", "debug-port0", "rtc0", text],
        "metadata": {
            "vmrun.spec": tomli_w.dumps({"vm": {"name": text, "memory": text}, "boot": {"cmdline": text}}),
            "vmrun.images": json.dumps({text: {"path": text, "sha256": text}}),
            "vmrun.host": json.dumps({"processor": text, text: [text], "capabilities": {text: 1}}),
            "vmrun.overrides": json.dumps([text]),
            "vmrun.other": text.encode("utf-8", "replace").decode(),
        },
        "summary": {"result": {"kind": text, "status": text}},
    }


def test_hostile_text_stays_text(boot, record, page):
    plain = Reader(page(boot))
    reader = Reader(page(record(**hostile(EVIL))))
    assert len(reader.scripts) == len(plain.scripts) == 3
    assert reader.scripts[1:] == plain.scripts[1:]
    assert "img" not in reader.tags
    assert not [name for _, name, _ in reader.attributes if name.startswith("on")]
    assert "</script><script>alert(1)</script><img src=x onerror=alert(2)>\\u202e'\"&\\x00\\x1b[31m" in reader.text


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(
    lambda text: text not in ("serial0", "debug-port0", "rtc0", "-")
)


@settings(DEAR, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS)
def test_any_text_leaves_the_page_as_it_is(record, page, text):
    reader = Reader(page(record(**hostile(text))))
    assert len(reader.scripts) == 3
    json.loads(reader.scripts[0])
    printed = "".join(reader.words)
    assert all(char.isprintable() or char == "\n" for char in printed)


@pytest.mark.parametrize("key", ["vmrun.images", "vmrun.overrides"])
def test_metadata_of_a_shape_of_its_own(record, page, key):
    for value in ("[1, 2]", '{"kernel": 7}', "null", '"text"'):
        page(record(exits_of_a_boot, metadata={key: value}))


def test_the_page_of_a_small_trace_is_mostly_the_library(boot, page):
    from plotly.offline import get_plotlyjs

    assert len(page(boot)) < len(get_plotlyjs()) + 60_000


def test_requests_are_shown_if_there_are_any(record, page):
    path = record([[exit_(1)]])
    assert "Requests to virtio devices" not in Reader(page(path)).text
    write_requests(path, [request(0, 100, 1_000 + number, position=number) for number in range(3)])
    made = Reader(page(path))
    for expected in ("Requests to virtio devices", "In flight over the run serial0 at most 3 at once", "Slowest, each"):
        assert expected in made.text
    assert len([value for _, name, value in made.attributes if name == "title" and "in flight, at most" in value]) == 60
