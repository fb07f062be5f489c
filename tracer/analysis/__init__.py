"""The analyses: pure functions from a trace (or its tables) to ``pyarrow.Table``, one module each.

Each result's schema is beside the function that makes it, field by field, with ``unit`` and ``doc`` as metadata; times
are int64 ns. Analyses read a trace in batches and only the columns they need, so a trace may be larger than memory.
They print nothing.
"""
