"""The commands of ``vmrun`` beside running a spec, a module each."""
