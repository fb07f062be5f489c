"""The error of snapshots."""

from vmspec.host.printable import PrintableError


class SnapshotError(PrintableError):
    """A file that is no snapshot, or one that this machine cannot go on from; the message says why."""
