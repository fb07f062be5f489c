"""Names of ports, memory-mapped registers and MSRs, and the meaning of their values.

>>> name("io", 0x3FD)
'COM1 LSR'
>>> value("io", 0x3FD, 0x60)
'THRE|TEMT'

For consecutive exits use a :class:`Decoder`, which knows what earlier ones selected.
"""

from tracer.decode.cpuid import leaf_name
from tracer.decode.decoder import Decoder, decoded, first_item, name, named, value
from tracer.decode.msr import msr_name

__all__ = ["Decoder", "decoded", "first_item", "leaf_name", "msr_name", "name", "named", "value"]
