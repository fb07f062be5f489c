"""The definitions of a trace, shared by the recorder, the readers and the documentation."""
