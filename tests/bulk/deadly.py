"""A worker's task that ends its process at one photo, as a decoder with a fault would."""

import os
import signal

from calcinosis.bulk import worker_pool
from calcinosis.bulk.reading import Record

NAME = "deadly.png"
_read = worker_pool._read


def read(first: int, files: list[str]) -> list[Record]:
    """As `calcinosis.bulk.worker_pool` reads, until the deadly photo."""
    if NAME in files:
        os.kill(os.getpid(), signal.SIGKILL)
    return _read(first, files)
