"""What glibc's allocator does with large blocks: a server gives them back, a training keeps them."""

import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = (-1, 32 * 1024**2)
_MMAP_THRESHOLD: Final = (-3, 12 * 1024**2)
"""Numbers of `mallopt(3)` with bytes: below Pillow's blocks of 16 MiB, above all that an ordinary photo needs."""
_ARENA_MAX: Final = (-8, 4)
"""The number of heaps for threads; glibc would take eight a core."""
_MAPPED_BLOCKS: Final = (-4, 0)
_KEPT: Final = (-1, 2**31 - 1)
"""No block is mapped by itself, and up to 2 GiB of what was freed stay."""


def return_large_blocks() -> None:
    """Let the allocator of this process map large blocks by themselves, and unmap them when they are freed.

    glibc begins so, but once such a block was freed it takes the next ones from its heaps, one a thread, and
    there the blocks of photos leave gaps between what stays: a server that was sent many files, a few of them of
    40 megapixels, grew to five times its size. Where there is another allocator, nothing is changed.
    """
    _set(_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX)


def keep_large_blocks() -> None:
    """Let the allocator of this process keep the large blocks that are freed, for the next ones of their size.

    glibc maps blocks above 32 MiB by themselves, and each time the system clears their pages first: it took half of
    the time of fine-tuning in batches of 256. Where there is another allocator, nothing is changed.
    """
    _set(_MAPPED_BLOCKS, _KEPT)


def _set(*options: tuple[int, int]) -> None:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    for option, value in options:
        mallopt(option, value)
