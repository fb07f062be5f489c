"""TOML, parsed within bounds.

tomllib keeps each key together with all that it is nested in: a key of 40,000 parts takes gigabytes. So documents
nested deeper than any real one are rejected before. Like tomllib, the walk follows TOML's tokens, and stops where a
text is not TOML: tomllib gets no further.
"""

import re
import tomllib
from typing import Any

DEPTH_MAX = 32  # tables and arrays within each other; a spec has three or four

_TOKEN = re.compile(
    r"(?P<skip>#[^\n]*+|[^\[\]{}.,=\n\"'#]++"
    r'|"""(?:[^"\\]++|\\.|"(?!""))*+"{3,5}|"(?!"")(?:[^"\\\n]++|\\.)*+"'
    r"|'''(?:[^']++|'(?!''))*+'{3,5}|'(?!'')[^'\n]*+')"
    r"|(?P<mark>[\[\]{}.,=\n])",
    re.DOTALL,
)


def loads(text: str) -> dict[str, Any]:
    """The document. Raises ValueError if it is not TOML (tomllib.TOMLDecodeError, or a number with more digits than
    Python reads), RecursionError if it is nested too deep."""
    _bounded(text)
    return tomllib.loads(text)


def _bounded(text: str) -> None:
    """Raise RecursionError if tables and arrays, in brackets and dotted keys, are nested too deep."""
    around = [0]  # the depth of each open bracket
    depth = 0  # the depth there from the dots of the key
    at = 0
    while (found := _TOKEN.match(text, at)) is not None:
        at = found.end()
        match found["mark"]:
            case None:
                pass
            case "[" | "{":
                around.append(depth + 1)
                depth += 1
            case "]" | "}":
                depth = around.pop() if len(around) > 1 else 0
            case ".":
                depth += 1
            case "=":
                pass  # what follows is within the key
            case _:
                depth = around[-1]
        if depth > DEPTH_MAX:
            raise RecursionError("it is nested too deep")
