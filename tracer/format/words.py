"""Numbers in words, as messages of all kinds have them."""


def times(count: int) -> str:
    """A number of times in words."""
    return "once" if count == 1 else f"{count:,} times"
