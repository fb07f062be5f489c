"""The registers of the devices and the processor, by the names of their data sheets: offsets, bits and commands.

The device models and the decoders of traces share them. They are plain integers, which ``match`` can use
(``case R.IER:``), and cost a start nothing.
"""
