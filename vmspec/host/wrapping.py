"""Lines that fit the terminal."""

USUAL = 100  # columns of texts that do not go to a terminal


def wrapped(line: str, width: int | None, hang: int = 0) -> list[str]:
    """Break a line at blanks into lines of at most ``width`` columns (None: 100), all but the first indented by
    ``hang`` more than the first. A longer word, such as a path, stays whole."""
    import textwrap

    indent = " " * (len(line) - len(line.lstrip(" ")) + hang)
    return textwrap.wrap(
        line,
        USUAL if width is None else width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]
