"""The emulated hosts of the lab: what they share, and one module for each."""
