"""Keep the memory of one step, or of one batch to predict, for the next.

What the C library gives back to the system, it gets back page by page.
"""

from __future__ import annotations

import ctypes
import sys

# Parameters of mallopt, as malloc.h of the GNU C library numbers them.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_LARGEST = 2**31 - 1
_GROWTH = 64 * 2**20


def keep_freed_memory() -> bool:
    """Let this process keep what it frees from now on; return whether its C library can.

    The activations and gradients of a step are large, so that the GNU C library asks the system for each of them and
    returns it at once; the system fills each page with zeros first. Peak memory stays what it is.
    """
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, _GROWTH))
    # Another C library may have the function and do nothing.
    return all(library.mallopt(name, value) == 1 for name, value in settings)
