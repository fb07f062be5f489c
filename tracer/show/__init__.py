"""What is found in a trace, as people and programs read it."""
