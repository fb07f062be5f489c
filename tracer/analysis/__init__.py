"""The analyses: pure functions from a trace (or its tables) to ``pyarrow.Table``, a module each.

A result's schema is written down beside the function that makes it, field by field with ``unit`` and ``doc`` as
metadata; times are int64 ns. Analyses take a trace by batches and only the columns that they need, so that a trace may
be larger than memory. They print nothing.
"""
