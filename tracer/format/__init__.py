"""The files of a trace: their schema, their messages, and writing them whole."""
