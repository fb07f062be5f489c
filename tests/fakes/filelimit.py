"""A limit to the size of files, for what a full disk does.

pytest writes its own output before fixtures end, and that may be a longer file: so the limit is around calls alone.
"""

import resource
from contextlib import contextmanager


@contextmanager
def at_most(size):
    """No file of this process becomes longer; a write beyond that gives EFBIG, after what there was room for."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
