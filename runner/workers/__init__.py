"""Runs in processes of their own: an executor, its program, and which runs fit beside each other."""
