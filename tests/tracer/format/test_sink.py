"""Output: files that appear whole or not at all, and targets that are not files."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tracer.format.errors import TraceError
from tracer.format.sink import sink

FULL = Path("/dev/full")


def put(path, data=b"new"):
    with sink(path) as out:
        out.write(data)


def test_a_file_is_replaced_only_when_it_is_whole(tmp_path):
    (tmp_path / "page").write_bytes(b"old")
    with pytest.raises(TypeError):
        put(tmp_path / "page", "a text, where bytes are due")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"page": b"old"}
    put(tmp_path / "page")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"page": b"new"}


@pytest.mark.parametrize("there", [True, False])
def test_what_a_link_leads_to_is_written(tmp_path, there):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere/page")
    if there:
        (tmp_path / "elsewhere" / "page").touch()
    put(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "elsewhere" / "page").read_bytes() == b"new"


def test_a_pipe_gets_what_is_written(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    put(tmp_path / "pipe")
    reader.join()
    assert (got, (tmp_path / "pipe").is_fifo()) == ([b"new"], True)


def test_a_full_device_is_said_and_stays_a_device():
    with pytest.raises(TraceError, match="cannot write /dev/full: No space left on device"):
        put(FULL)
    assert FULL.is_char_device()


def test_a_process_that_is_killed_leaves_nothing(tmp_path):
    code = "import os, sys; from pathlib import Path; from tracer.format.sink import sink\n"
    code += "with sink(Path(sys.argv[1])) as out: out.write(bytes(1 << 20)); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "page")], check=False)
    assert (done.returncode, list(tmp_path.iterdir())) == (-9, [])
