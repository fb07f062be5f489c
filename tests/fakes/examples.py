"""Settings of properties whose examples take milliseconds each: 20 of them in `make test`, 400 in `make soak`."""

from hypothesis import settings

DEAR = settings(max_examples=max(20, settings.default.max_examples * 2 // 5))
