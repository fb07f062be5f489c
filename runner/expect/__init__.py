"""What a spec expects of a run (``[expect]``), compared with what came. Pure: no KVM, no machine."""
