"""A trace in the formats of other tools, one module each: ``write(trace, sink)`` writes it whole to a binary stream.

Each reads the trace in batches, so memory does not grow with it. Times are ns since the machine started, or in the unit
of the format. If a format needs an absolute time, the start is its zero.
"""
