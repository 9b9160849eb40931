"""What a command sets for its process before TensorFlow is loaded."""

from __future__ import annotations

import ctypes
import os
import platform

# The options' numbers in <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def prepare_process() -> None:
    """Memory and messages for a command that works on batches of images.

    What the user has set in the environment stays.
    """
    keep_freed_memory()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def keep_freed_memory() -> bool:
    """Lets the C library keep freed blocks for the next batch instead of returning them.

    By default glibc maps large blocks anew each time, and the kernel clears their pages before
    every use, though TensorFlow's operations ask for the same blocks at each step. The process then
    keeps its peak of memory until it ends.

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


def use_onednn() -> None:
    """Lets TensorFlow use oneDNN's convolutions on every x86 processor; for training.

    By itself TensorFlow uses them only where the processor has instructions for neural networks
    (VNNI, AMX), and Eigen's on the others. `benchmarks/process.py` measures what it gains.

    Results differ: sums are rounded in another order, a convolution of no images fails, and one
    that is fused with its bias and ReLU turns NaN into 0 (TensorFlow 2.21 on AVX2). Training meets
    neither, since its batches are full and it stops at a gradient that is not finite; commands that
    run other people's models leave TensorFlow's default.
    """
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
