"""Letting vCPUs go on: the packets vCont, c and s (gdb manual, E.2)."""

from collections.abc import Mapping
from typing import NamedTuple

ACTIONS = b"c;C;s;S"  # continue and step, each with a signal too, which a machine does not take
ALL = -1


class RequestError(Exception):
    """A packet that is not as the protocol wants it."""


class Resume(NamedTuple):
    """What is to happen to each vCPU: True: one step; False: go on. Those that are not there are held."""

    actions: Mapping[int, bool]


class Back(NamedTuple):
    """The machine is to go back: by a ``step``, or to the last breakpoint."""

    step: bool


def number(text: bytes) -> int:
    """A number in hexadecimal, of 64 bits at most. Raises RequestError."""
    if not 0 < len(text) <= 16 or text.strip(b"0123456789abcdefABCDEF"):
        raise RequestError(f"{text[:20]!r} is not a number of 64 bits in hexadecimal")
    return int(text, 16)


def thread(text: bytes, vcpus: int, chosen: int) -> int:
    """The vCPU of a thread's number, which is one more; :data:`ALL`; 0 stands for the ``chosen`` one. Raises
    RequestError."""
    match text:
        case b"-1":
            return ALL
        case b"0":
            return chosen
    vcpu = number(text) - 1
    if not 0 <= vcpu < vcpus:
        raise RequestError(f"there is no thread {vcpu + 1}: the machine has {vcpus}, from 1 on")
    return vcpu


def continuing(text: bytes, vcpus: int, chosen: int) -> Resume:
    """The actions of a packet vCont, from its first semicolon on: for each vCPU the first that fits. Raises
    RequestError."""
    actions: dict[int, bool] = {}
    for part in text.removeprefix(b";").split(b";"):
        action, colon, whose = part.partition(b":")
        if action[:1] not in (b"c", b"C", b"s", b"S"):
            raise RequestError(f"{action[:20]!r} is not an action: there are {ACTIONS.decode()}")
        vcpu = thread(whose, vcpus, chosen) if colon else ALL
        for each in range(vcpus) if vcpu == ALL else (vcpu,):
            actions.setdefault(each, action[:1] in b"sS")
    return Resume(actions)
