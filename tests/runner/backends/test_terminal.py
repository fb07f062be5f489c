import os
import pty

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.backends.terminal import Escapes, Raw


def model(data):
    """What the help text says, over the whole input at once: (to the guest, commands)."""
    rest, commands, at = bytearray(), [], 0
    while at < len(data):
        if data[at] != 0x01:
            rest.append(data[at])
            at += 1
            continue
        match data[at + 1 : at + 2]:
            case b"\x01":
                rest.append(0x01)
            case b"h" | b"H" | b"?":
                commands.append("h")
            case command if command and command in b"xpbXPB":
                commands.append(command.decode().lower())
        at += 2
    return bytes(rest), commands


@given(st.lists(st.binary(max_size=6) | st.text("\x01xXpPbBhH?a", max_size=6).map(str.encode), max_size=6))
def test_escapes_however_the_input_is_cut(pieces):
    escapes = Escapes()
    results = [escapes.filter(piece) for piece in pieces]
    rest, commands = b"".join(rest for rest, _ in results), [name for _, names in results for name in names]
    assert (rest, commands) == model(b"".join(pieces))


@pytest.fixture
def terminal():
    """A new terminal that is this process's own; yields (the user's end, the program's end)."""
    user, program = pty.openpty()
    yield user, program
    os.close(user)
    os.close(program)


def test_no_terminal_is_left_alone(tmp_path):
    with (tmp_path / "file").open("wb") as file, Raw(file.fileno()) as raw:
        assert not raw.active


def test_no_descriptor_is_no_terminal():
    assert not Raw(-1).active


def test_a_terminal_that_is_not_ours_is_left_alone(terminal):
    # tcgetpgrp fails with ENOTTY where the terminal is not the controlling one.
    assert not Raw(terminal[1]).active
