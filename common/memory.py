"""Memory that large photos took goes back to the system, so that one of them does not cost a process its size for ever."""

import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = (-1, 32 * 1024**2)
_MMAP_THRESHOLD: Final = (-3, 12 * 1024**2)
"""Numbers of `mallopt(3)` with bytes: below Pillow's blocks of 16 MiB, above all that an ordinary photo needs."""
_ARENA_MAX: Final = (-8, 4)
"""The number of heaps for threads; glibc would take eight a core."""


def return_large_blocks() -> None:
    """Let the allocator of this process map large blocks by themselves, and unmap them when they are freed.

    glibc begins so, but once such a block was freed it takes the next ones from its heaps, one a thread, and
    there the blocks of photos leave gaps between what stays: a server that was sent many files, a few of them of
    40 megapixels, grew to five times its size. Where there is another allocator, nothing is changed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    for option, value in (_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX):
        mallopt(option, value)
