"""The commands of ``vmtrace``, a module each: ``prepare(parser)`` adds its arguments, ``run(options)`` does it.

``run`` returns the exit status and raises TraceError for what is wrong with a trace or the call. The command line
imports only the module that was asked for. A command parses, calls an analysis and prints; it computes nothing.
"""
