"""A trace in the formats of other tools, a module each: ``write(trace, sink)`` writes it whole to a binary stream.

Each reads the trace by batches, so that memory does not grow with it. Times are ns since the machine started, or in the
unit that the format wants; where a format asks for an absolute time, the start is its zero.
"""
