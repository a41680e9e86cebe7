"""Rows of one split that nearly repeat a row of another: the leak that an exact comparison misses.

Called by `headway.data.checks`. Two texts are near duplicates if their sets of five-letter pieces overlap by
`THRESHOLD` (Jaccard), whatever their case, punctuation and blanks. Letters rather than words, so that one changed
word does not hide a short text and languages without blanks are served. MinHash with locality-sensitive hashing
(Broder 1997) proposes pairs, the pieces themselves decide: what is reported is true, and of the pairs just at the
threshold about 1 in 70 is missed, of those at 0.9 none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

THRESHOLD = 0.8
"""Smallest overlap, from 0 to 1, that makes two texts near duplicates."""

MAX_CHARACTERS = 1000
"""Characters at the start of a text that are compared; keeps long documents as cheap as paragraphs."""

_PIECE = 5
_BANDS, _ROWS = 18, 7
_MAX_ALIKE = 32
"""Rows that may share a bucket. In templated data all rows resemble all others, and time would grow with the square."""
_MAX_COMPARED = 10

Texts = tuple[str, ...]
"""The texts of a row: one, or the two of a pair."""


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """A pair of rows that are nearly the same: the number of the searched row, and of the row that repeats it."""

    first: int
    second: int
    similarity: float


class NearDuplicates:
    """The rows of one split, ready to be searched for what rows of other splits nearly repeat.

    In pairs of texts both must be near duplicates: the same question about another answer is no leak. Texts without
    any letter or digit are left out. In data where dozens of rows resemble one another some pairs are missed, so that
    time grows with the number of rows and not with its square.
    """

    def __init__(self, rows: Sequence[Texts]) -> None:
        self._pieces = [_pieces(texts) for texts in rows]
        self._index = MinHashLSH(num_perm=_BANDS * _ROWS, params=(_BANDS, _ROWS))
        self._sketches = np.zeros((len(rows), _BANDS * _ROWS), dtype=np.uint64)
        for row, sketch in _sketches(self._pieces):
            self._sketches[row] = sketch.hashvalues
            if len(self._index.query(sketch)) < _MAX_ALIKE:
                self._index.insert(row, sketch)

    def find(self, rows: Sequence[Texts]) -> list[NearDuplicate]:
        """Return, for each of the rows that nearly repeats one of this split, the closest pair found."""
        asked = [_pieces(texts) for texts in rows]
        found = []
        for row, sketch in _sketches(asked):
            candidates = np.array(sorted(self._index.query(sketch)), dtype=np.int64)
            if not len(candidates):
                continue
            estimates = (self._sketches[candidates] == sketch.hashvalues).mean(axis=1)
            likely = candidates[np.argsort(-estimates, kind="stable")[:_MAX_COMPARED]]
            # Of rows equally close the first in the file.
            similarity, best = max((_similarity(self._pieces[other], asked[row]), -int(other)) for other in likely)
            if similarity >= THRESHOLD:
                found.append(NearDuplicate(first=-best, second=row, similarity=similarity))
        return found


def _pieces(texts: Texts) -> tuple[NDArray[np.uint64], ...]:
    """Return the set of pieces of each text as sorted 32-bit numbers."""
    return tuple(_hashes(text, salt) for salt, text in enumerate(texts))


def _hashes(text: str, salt: int) -> NDArray[np.uint64]:
    plain = unicodedata.normalize("NFKC", text[:MAX_CHARACTERS]).casefold()
    plain = " ".join(re.findall(r"\w+", plain))
    if not plain:
        return np.zeros(0, dtype=np.uint64)
    points = np.frombuffer(plain.ljust(_PIECE).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    codes = points.astype(np.uint64)
    count = len(codes) - _PIECE + 1
    # A polynomial over the code points; unsigned integers wrap around, as a hash may. The salt keeps the pieces of
    # the two texts of a pair apart.
    value = np.full(count, salt, dtype=np.uint64)
    for offset in range(_PIECE):
        value = value * np.uint64(0x9E3779B97F4A7C15) + codes[offset : offset + count]
    return np.unique(value >> np.uint64(32))


def _sketches(rows: Sequence[tuple[NDArray[np.uint64], ...]]) -> list[tuple[int, MinHash]]:
    """Return (row, MinHash) for the rows that have any piece."""
    filled = [row for row, pieces in enumerate(rows) if any(len(part) for part in pieces)]
    values = (np.concatenate(rows[row]).tolist() for row in filled)
    return list(zip(filled, MinHash.generator(values, num_perm=_BANDS * _ROWS, seed=1, hashfunc=int), strict=True))


def _similarity(first: tuple[NDArray[np.uint64], ...], second: tuple[NDArray[np.uint64], ...]) -> float:
    """Return the Jaccard overlap of the pair's less similar texts."""
    return min(_overlap(one, other) for one, other in zip(first, second, strict=True))


def _overlap(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> float:
    shared = len(np.intersect1d(one, other, assume_unique=True))
    total = len(one) + len(other) - shared
    return shared / total if total else 1.0
