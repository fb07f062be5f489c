"""One run of a spec, from the plan to its result."""
