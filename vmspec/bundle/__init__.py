"""Bundles: a spec with its lock and every file that its run reads, in one file."""

SUFFIX = ".vmz"  # by which vmrun knows a bundle
