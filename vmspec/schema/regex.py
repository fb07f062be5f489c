"""Regular expressions whose time grows only with the text that they are tried on: RE2."""

from typing import Any

MEMORY = 1 << 20  # bytes of a compiled pattern, at most: the time for each character grows with it


def compiled(pattern: str) -> Any:
    """The compiled pattern: its ``search`` takes text. Raises ValueError with RE2's reason."""
    import re2  # late: few specs have patterns

    options = re2.Options()
    options.log_errors = False  # RE2 would print them
    options.max_mem = MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        raise ValueError(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)) from None
