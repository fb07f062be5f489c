"""Key paths: a place in a TOML document, as a tuple and as a person writes it (``device[1].path``)."""

import re

KeyPath = tuple[str | int, ...]

_BARE = "[A-Za-z0-9_-]+"
_STEP = rf'(?P<dot>\.)?(?:(?P<bare>{_BARE})|"(?P<quoted>(?:[^"\\]|\\.)*)")|\[(?P<index>[0-9]{{1,9}})\]'


def join(path: KeyPath) -> str:
    """``("device", 1, "path")`` as ``device[1].path``; keys that are not bare are quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if re.fullmatch(_BARE, step) else _quote(step))
    return text


def _quote(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def split(text: str) -> KeyPath:
    """The path that a person wrote; the inverse of :func:`join`. Raises ValueError for an invalid path."""
    path: list[str | int] = []
    at = 0
    pattern = re.compile(_STEP, re.DOTALL)
    while at < len(text):
        step = pattern.match(text, at)
        # Dots are allowed between keys only.
        if step is None or (step["index"] is None and bool(step["dot"]) != bool(path)) or (step["index"] and not path):
            raise ValueError(f"{text!r} is not a key: write table.key or table[0].key")
        if step["index"] is not None:
            path.append(int(step["index"]))
        elif step["bare"] is not None:
            path.append(step["bare"])
        else:
            path.append(re.sub(r"\\(.)", r"\1", step["quoted"], flags=re.DOTALL))
        at = step.end()
    return tuple(path)
