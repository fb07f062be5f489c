"""Lines that fit the terminal."""

USUAL = 100  # columns that texts have where they go to no terminal


def wrapped(line: str, width: int | None, hang: int = 0) -> list[str]:
    """A line as lines of at most ``width`` columns (None: 100), broken at blanks, all but the first indented by
    ``hang`` more than the first. A word that is longer than that, as a path may be, stays whole."""
    import textwrap

    indent = " " * (len(line) - len(line.lstrip(" ")) + hang)
    return textwrap.wrap(
        line,
        USUAL if width is None else width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]
