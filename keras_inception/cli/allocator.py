"""How glibc hands out memory to a command that works on batches of images."""

from __future__ import annotations

import ctypes
import os

# The options' numbers in <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Lets the C library keep freed blocks for the next batch instead of returning them.

    By default glibc maps large blocks anew each time, and the kernel clears their pages before
    every use, though TensorFlow's operations ask for the same blocks at each step;
    `benchmarks/allocator.py` measures what that costs. The process then keeps its peak of memory
    until it ends.

    Does nothing where the C library is another one, and where the user has set glibc's own
    variables (`MALLOC_...` or `GLIBC_TUNABLES`).

    Returns:
        Whether it took effect.
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - other C libraries lack the options
        mallopt = library.mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1))
