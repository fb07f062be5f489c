"""The files of a trace: their schema, their messages, and how they are written whole."""
