"""Scores of a search: at which place among all candidates does a right one stand. Exact, in blocks of bounded memory.

A task counts the places once for a whole split; every metric, and every bootstrap resample, follows from them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

BLOCK = 256
"""Queries whose scores against all candidates are in memory at once."""

CUTOFFS = (1, 5, 10)
MRR_CUTOFF = 10


def right_answers(
    queries: Sequence[str], positives: Sequence[str], groups: Sequence[str | None]
) -> tuple[list[str], list[list[int]], list[list[int]]]:
    """Return what is searched, and for each row the numbers of what is right and of what does not take part.

    Candidates are the distinct positives, in the order in which they come. Right for a row is every positive that was
    given to the same query, or that belongs to its group. A candidate that is the text of the query itself does not
    take part, unless it is the row's own positive: a text finds itself first, which says nothing.
    """
    number_of = {text: number for number, text in enumerate(dict.fromkeys(positives))}
    meanings = [
        [("query", query), *([("group", group)] if group is not None else [])]
        for query, group in zip(queries, groups, strict=True)
    ]
    right_of: dict[tuple[str, str], dict[int, None]] = {}
    for own, positive in zip(meanings, positives, strict=True):
        for meaning in own:
            right_of.setdefault(meaning, {})[number_of[positive]] = None
    right, ignored = [], []
    for query, positive, own in zip(queries, positives, meanings, strict=True):
        itself = {number_of[query]} - {number_of[positive]} if query in number_of else set[int]()
        found = dict.fromkeys(number for meaning in own for number in right_of[meaning])
        right.append([number for number in found if number not in itself])
        ignored.append(sorted(itself))
    return list(number_of), right, ignored


def count_ranks(
    score: Callable[[slice], NDArray[np.floating]],
    right: Sequence[Sequence[int]],
    ignored: Sequence[Sequence[int]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the place of the best right candidate of each query, from 1, and the number of its best candidate.

    A wrong candidate with the very score of the right one stands before it: a model that gives all candidates one
    score has found nothing. Other right candidates are not counted as wrong.

    Args:
        score: from a slice of the queries to their scores, (queries, candidates); more is better.
        right: for each query the numbers of its right candidates, at least one.
        ignored: for each query the numbers of candidates that do not take part.
    """
    ranks = np.empty(len(right), dtype=np.int64)
    best = np.empty(len(right), dtype=np.int64)
    for start in range(0, len(right), BLOCK):
        block = slice(start, min(start + BLOCK, len(right)))
        scores = np.array(score(block), dtype=np.float64)  # (block, candidates)
        for row, number in enumerate(range(block.start, block.stop)):
            own = list(right[number])
            of_own = scores[row, own].max()
            scores[row, list(ignored[number])] = -np.inf
            wrong_before = scores[row] >= of_own
            wrong_before[own] = False
            ranks[number] = 1 + int(wrong_before.sum())
            best[number] = int(scores[row].argmax())
    return ranks, best


def from_ranks(ranks: Sequence[int] | NDArray[np.int64]) -> dict[str, float]:
    """Score the places of the right candidates.

    - ``recall_at_1``, ``_5``, ``_10``: share of queries with a right candidate among the first 1, 5, 10.
    - ``mrr_at_10``: mean of 1 / place, 0 beyond the tenth place (Voorhees 1999).
    """
    places = np.asarray(ranks, dtype=np.int64)
    if not len(places):
        return {}
    scores = {f"recall_at_{k}": float((places <= k).mean()) for k in CUTOFFS}
    return scores | {f"mrr_at_{MRR_CUTOFF}": float(np.where(places <= MRR_CUTOFF, 1 / places, 0.0).mean())}


def cosines(left: NDArray[np.floating], right: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the cosine of each pair of rows, (rows,); 0 where a vector is 0."""
    one, two = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return np.asarray(np.einsum("ij,ij->i", one, two) / np.where(lengths > 0, lengths, 1.0), dtype=np.float64)


def normalized(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the vectors at length 1, (rows, width), so that their products are cosines; 0 stays 0."""
    lengths = np.linalg.norm(np.asarray(vectors, dtype=np.float64), axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
