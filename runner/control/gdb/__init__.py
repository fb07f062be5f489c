"""gdb's remote serial protocol over a machine that stands still (gdb manual, appendix E)."""
