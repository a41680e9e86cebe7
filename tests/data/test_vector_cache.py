from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from headway.data.vector_cache import VectorCache, is_encoded, open_or_encode

VECTORS = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
SIZES = np.array([2, 3, 0, 4])


def opened(folder: Path, parts: Iterator[NDArray[np.float32]], *, of_tokens: bool = False) -> VectorCache:
    return open_or_encode("rows", "k", parts, sizes=SIZES, width=4, of_tokens=of_tokens, folder=folder)


def never() -> Iterator[NDArray[np.float32]]:
    raise AssertionError("encoded again")
    yield


def test_what_went_in_comes_out_feature_by_feature(tmp_path: Path) -> None:
    assert not is_encoded("rows", "k", folder=tmp_path)
    for parts in (iter([VECTORS[:5], VECTORS[5:]]), never()):
        cache = opened(tmp_path, parts)
        for number, (start, end) in enumerate([(0, 2), (2, 5), (5, 5), (5, 9)]):
            assert np.array_equal(cache[number], VECTORS[start:end])
    assert np.array_equal(opened(tmp_path, never(), of_tokens=True)[1], VECTORS[None, 2:5])
    assert is_encoded("rows", "k", folder=tmp_path)
    assert not is_encoded("rows", "other", folder=tmp_path)


def test_too_few_vectors_are_no_cache(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected 9 vectors, found 5"):
        opened(tmp_path, iter([VECTORS[:5]]))
    assert list(tmp_path.iterdir()) == []
