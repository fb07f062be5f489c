"""The emulated hosts of the lab: the common part, and one module for each."""
