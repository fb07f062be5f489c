"""Campaigns on a cluster of Dask: ``executor`` is the campaign's side, ``remote`` what its workers do."""
