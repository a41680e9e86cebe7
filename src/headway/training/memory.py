"""What a process keeps from one step, or one batch to predict, to the next: freed memory, and few prepared products.

What the C library gives back to the system, it gets back page by page. And oneDNN, which multiplies bfloat16 on a
processor, prepares each product of a size that it has not seen, and keeps it with the memory that it works in.
"""

from __future__ import annotations

import ctypes
import os
import sys

# Parameters of mallopt, as malloc.h of the GNU C library numbers them.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_LARGEST = 2**31 - 1
_GROWTH = 64 * 2**20

_CAPACITY = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
_PRODUCTS = "64"


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


def keep_few_products() -> None:
    """Let oneDNN keep 64 prepared products in this process instead of 1,024, if it has prepared none yet.

    Batches of texts have so many sizes that hardly one comes back soon, and to prepare it again costs next to nothing.
    Who has set ``ONEDNN_PRIMITIVE_CACHE_CAPACITY`` has decided.
    """
    os.environ.setdefault(_CAPACITY, _PRODUCTS)
