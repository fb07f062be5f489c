"""Overrides as callers give them."""

from collections.abc import Mapping, Sequence


def texts(overrides: Sequence[str] | str) -> tuple[str, ...]:
    """Overrides as a tuple, from one text or several. Raises TypeError for anything else."""
    if isinstance(overrides, str):
        return (overrides,)
    if isinstance(overrides, Mapping) or not all(isinstance(expression, str) for expression in overrides):
        raise TypeError(f'overrides are texts such as "vm.memory=1GiB", not {overrides!r}')
    return tuple(overrides)
