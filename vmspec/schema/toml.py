"""TOML, read within bounds.

tomllib keeps each key beside all that it is nested in: a key of 40,000 parts takes gigabytes. So what is nested deeper
than anything that is meant is refused before. As tomllib, the walk goes by TOML's tokens, and where a text is no TOML
it stops: tomllib comes no further.
"""

import re
import tomllib
from typing import Any

DEPTH_MAX = 32  # tables and arrays in each other; a spec has three or four

_TOKEN = re.compile(
    r"(?P<skip>#[^\n]*+|[^\[\]{}.,=\n\"'#]++"
    r'|"""(?:[^"\\]++|\\.|"(?!""))*+"{3,5}|"(?!"")(?:[^"\\\n]++|\\.)*+"'
    r"|'''(?:[^']++|'(?!''))*+'{3,5}|'(?!'')[^'\n]*+')"
    r"|(?P<mark>[\[\]{}.,=\n])",
    re.DOTALL,
)


def loads(text: str) -> dict[str, Any]:
    """The document. Raises ValueError where it is not TOML (tomllib.TOMLDecodeError, or a number of more digits than
    Python reads), RecursionError where it is nested too deep."""
    _bounded(text)
    return tomllib.loads(text)


def _bounded(text: str) -> None:
    """Raises RecursionError where tables and arrays, in brackets and dotted keys, are in each other too deep."""
    around = [0]  # of each open bracket how deep it stands
    depth = 0  # there, by the dots of the key
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
                pass  # what follows is in what the key names
            case _:
                depth = around[-1]
        if depth > DEPTH_MAX:
            raise RecursionError("it is nested too deep")
