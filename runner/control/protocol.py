"""The protocol: lines of JSON. docs/control.md describes it.

A server begins with a greeting. A client sends requests; the server answers each, in their order, with the request's
``id``. Events are lines that no request asked for.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from runner.control.errors import ControlError

VERSION = 1  # grows when a client of before would no longer understand what it reads
LONGEST = 1 << 16  # bytes of a request, with its newline

Message = dict[str, Any]


class Request(NamedTuple):
    """What a client asks: a verb and its arguments. ``id`` is the client's own, None if it gave none."""

    verb: str
    arguments: Mapping[str, Any]
    id: int | str | None = None


def encode(message: Mapping[str, Any]) -> bytes:
    """A message as a line. Text is ASCII, so that a name of any bytes can be sent."""
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> Request:
    """The request of a line. Raises :class:`Malformed`."""
    match parsed(line):
        case {"verb": str(verb), **rest}:
            pass
        case {"verb": _}:
            raise Malformed("the verb must be a string")
        case _:
            raise Malformed('a request is an object with a "verb"')
    id_, arguments = rest.pop("id", None), rest.pop("arguments", {})
    if not isinstance(id_, int | str | None) or isinstance(id_, bool):
        raise Malformed("the id must be a number without a fraction, or a string")
    if not isinstance(arguments, dict):
        raise Malformed("the arguments must be an object", id_)
    if rest:
        raise Malformed(f"a request has no member {next(iter(rest))!r}: it has verb, arguments and id", id_)
    return Request(verb, arguments, id_)


def parsed(line: bytes) -> Message:
    """The object of a line. Raises :class:`Malformed`."""
    try:
        message = json.loads(line.decode(), parse_constant=_not_json)
    except (ValueError, RecursionError) as error:  # not UTF-8; not JSON; a number of too many digits; too deep
        raise Malformed(f"it is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise Malformed("a message is an object")
    return message


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


class Malformed(ControlError):
    """A line that is not a request. ``id`` is that of the request, if it could be read."""

    def __init__(self, message: str, id: int | str | None = None) -> None:
        super().__init__("protocol", message)
        self.id = id


def answer(id: int | str | None, result: Any) -> Message:
    """The answer to a request that was done."""
    return {"id": id, "result": result}


def refusal(id: int | str | None, error: ControlError) -> Message:
    """The answer to a request that was not done."""
    return {"id": id, "error": {"kind": error.kind, "message": str(error)}}
