"""From a spec to its plan: all that a machine is made of."""
