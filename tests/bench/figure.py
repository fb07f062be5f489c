"""One measured figure."""

from typing import NamedTuple


class Figure(NamedTuple):
    """``limit`` is what the project has set itself, None where the figure only informs."""

    name: str
    value: float
    unit: str
    limit: float | None = None
