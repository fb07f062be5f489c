"""What a trace is made of: the definitions that the recorder, the readers and the documents share."""
