"""Whether the runs of a spec are the same: runs under disturbance, and what they are compared by."""
