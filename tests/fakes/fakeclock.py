"""A clock that a test advances."""

SECOND = 1_000_000_000
DATE = 1_700_000_000 * SECOND  # 2023-11-14 22:13:20 UTC


class FakeClock:
    """Stands still until the test moves ``now``, in ns; the date goes along, ``date`` ahead of it."""

    def __init__(self, now: int = 0, date: int = DATE) -> None:
        self.now = now
        self.date = date

    def monotonic(self) -> int:
        return self.now

    def realtime(self) -> int:
        return self.now + self.date
