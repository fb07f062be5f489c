"""A running machine as a tree: what is in it, and how a path selects a part."""
