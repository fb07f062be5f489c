"""Expectations that are checked in the finished trace. These modules read traces: they are imported after the run, and
only if the spec has such an expectation."""
