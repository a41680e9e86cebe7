"""What a process keeps from one step, or one batch to predict, to the next: freed memory, and few prepared products.

What the C library gives back to the system, it gets back page by page. And oneDNN, which multiplies matrices on a
processor, prepares each product of a size that it has not seen, and keeps it with the memory that it works in; so does
what stands between torch and oneDNN once more.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

# Parameters of mallopt, as malloc.h of the GNU C library numbers them.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_LARGEST = 2**31 - 1
_GROWTH = 64 * 2**20

_CAPACITIES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "16"}
"""Variable of the environment -> how many prepared products are kept: by oneDNN, and by torch above it. Both would keep
1,024."""


def keep_freed_memory() -> bool:
    """Let this process keep what it frees from now on; return whether its C library can.

    The activations and gradients of a step are large, so that the GNU C library asks the system for each of them and
    returns it at once; the system fills each page with zeros first. Peak memory stays what it is.
    """
    set_option = _c_function("mallopt")
    if set_option is None:
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, _GROWTH))
    # Another C library may have the function and do nothing.
    return all(set_option(name, value) == 1 for name, value in settings)


def give_back_memory() -> None:
    """Return to the system what is free between blocks that are held, where the C library is GNU's.

    Batches of many sizes leave gaps that the next ones do not fit into; it takes a millisecond or two to return them.
    """
    trim = _c_function("malloc_trim")
    if trim is not None:
        trim(0)


def keep_few_products() -> None:
    """Let few prepared products be kept in this process, if none has been prepared yet.

    Batches of texts have so many sizes that hardly one comes back soon, and to prepare it again costs next to nothing.
    Who has set a variable of `_CAPACITIES` has decided.
    """
    for name, number in _CAPACITIES.items():
        os.environ.setdefault(name, number)


def _c_function(name: str) -> Callable[..., int] | None:
    """Return a function of the C library, where it is that of a Linux which has it."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
