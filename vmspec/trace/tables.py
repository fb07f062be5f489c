"""The tables of a trace: the exits, which make the trace, and tables that may be recorded beside them."""

from vmspec.trace.dma import DMA
from vmspec.trace.inputs import INPUTS
from vmspec.trace.outputs import OUTPUTS
from vmspec.trace.record import EXITS
from vmspec.trace.requests import REQUESTS
from vmspec.trace.tracepoints import TRACEPOINTS

TABLES = {table.name: table for table in (EXITS, TRACEPOINTS, INPUTS, REQUESTS, OUTPUTS, DMA)}
