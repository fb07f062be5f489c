"""Paths as text and back, for every path, and texts that are no path's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmspec.host.pathtext import from_text, to_text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (b"/boot/vmlinuz", "/boot/vmlinuz"),
        (b"caf\xe9", "caf\0e9"),
        ("café".encode(), "café"),
        (b"\xc3\xc3\xbc\xff", "\0c3ü\0ff"),
        (b" a\n\t\\x1b\x1b%41", " a\n\t\\x1b\x1b%41"),
    ],
)
def test_the_text_of_a_path(path, text):
    assert to_text(os.fsdecode(path)) == text
    assert os.fsencode(from_text(text)) == path


@given(st.binary(min_size=1).filter(lambda path: b"\0" not in path and path != b"."))
def test_every_path_comes_back(path):
    path = Path(os.fsdecode(path))
    text = to_text(path)
    assert text.encode().decode() == text
    assert from_text(text) == path


@pytest.mark.parametrize("text", ["\0", "a\0", "\0e", "\0zz", "\0" + "2f", "\0" + "E9", "\ud800"])
def test_what_is_no_paths_text(text):
    with pytest.raises(ValueError):  # noqa: PT011 - the codec's own error where it is not Unicode
        from_text(text)


ASCII = r"""
import os
from vmspec.host.pathtext import from_text, to_text
print(os.fsencode(from_text("\xfc")), to_text(os.fsdecode(b"\xc3\xbc")) == "\xfc", to_text("\u6f22") == "\u6f22")
"""


def test_a_name_in_a_spec_is_utf8_in_every_locale():
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-c", ASCII], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "b'\\xc3\\xbc' True True\n"
