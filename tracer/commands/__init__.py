"""The commands of ``vmtrace``, one module each: ``prepare(parser)`` adds its arguments, ``run(options)`` runs it.

A command that prints tables has ``tables()``, their schemas, for ``vmtrace columns``.

``run`` returns the exit status and raises TraceError for a problem with a trace or the call. The command line imports
only the module of the chosen command. A command parses, calls an analysis and prints; it computes nothing.
"""
