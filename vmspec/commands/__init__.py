"""The commands of ``vmspec``, a module each. Only that of the command line is imported."""
