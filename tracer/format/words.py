"""Numbers in words, as messages of all kinds have them."""


def times(count: int) -> str:
    """A number of times in words."""
    return "once" if count == 1 else f"{count:,} times"


def counted(count: int, noun: str) -> str:
    """A number of things: "1 exit", "2 exits"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
