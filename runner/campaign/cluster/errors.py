"""Errors of clusters. Imports nothing of Dask's, so that a command can name them without it."""


class ClusterError(Exception):
    """The cluster cannot make the runs."""


class AddressError(ClusterError):
    """What the user gave is no address of a scheduler, or Dask is not installed."""
