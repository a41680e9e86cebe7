"""Vectors of a frozen backbone, or of its frozen layers, computed once: a memory-mapped file beside the token cache.

What a frozen backbone says of a row never changes, so the head learns from the file instead, epoch after epoch, and
another head over the same rows and backbone begins where the file is.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from headway.data.cache_files import cache_folder, cached_file, is_cached


class VectorCache:
    """The vectors of the features of one table: so many for each, one after another."""

    def __init__(self, path: Path, sizes: NDArray[np.int64], *, of_tokens: bool) -> None:
        # Nothing is read before someone looks at the numbers.
        self._vectors: NDArray[Any] = np.asarray(np.load(path, mmap_mode="r"))
        self._ends = np.cumsum(sizes)
        self._sizes = sizes
        self._of_tokens = of_tokens

    def __getitem__(self, number: int) -> NDArray[Any]:
        """Return the vectors of the features with this number: (some, width), or (1, tokens, width); read only."""
        end = int(self._ends[number])
        found = self._vectors[end - int(self._sizes[number]) : end]
        return found[None] if self._of_tokens else found


def is_encoded(name: str, key: str, *, folder: Path | None = None) -> bool:
    """Return whether `open_or_encode` has vectors for these arguments in the cache."""
    return is_cached(folder or _folder(), name, key, ".npy")


def open_or_encode(
    name: str,
    key: str,
    parts: Iterable[NDArray[Any]],
    *,
    sizes: NDArray[np.int64],
    width: int,
    of_tokens: bool,
    dtype: str = "<f4",
    folder: Path | None = None,
) -> VectorCache:
    """Return the cached vectors for ``key``, computing them where they are missing or damaged.

    Args:
        name: words for the file name.
        key: from `headway.data.cache_files.cache_key`.
        parts: arrays (some, width) that make up all vectors in the order of the features; consumed only if needed.
        sizes: (features,) how many vectors each has.
        width: of a vector.
        of_tokens: whether they are those of the tokens of one sequence, and given back as (1, tokens, width).
        dtype: numpy's word for the numbers in the file.
        folder: where the file lies; empty takes `vectors` in the folder of all caches.

    Raises:
        RunError: the folder cannot be written, or belongs to another user.
    """

    def write(file: IO[bytes]) -> None:
        header = {"descr": dtype, "fortran_order": False, "shape": (int(sizes.sum()), width)}
        np.lib.format.write_array_header_1_0(file, header)
        count = 0
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype=dtype).tobytes())
            count += len(part)
        if count != sizes.sum():
            raise ValueError(f"expected {sizes.sum()} vectors, found {count}")

    path = cached_file(folder or _folder(), name, key, ".npy", write)
    return VectorCache(path, sizes, of_tokens=of_tokens)


def _folder() -> Path:
    return cache_folder() / "vectors"
