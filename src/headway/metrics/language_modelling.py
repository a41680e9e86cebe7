"""How well a model guesses hidden tokens: perplexity and accuracy over all guesses of a split, and where they fail."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway.metrics.intervals import Evaluate, Rows

MAX_EXPONENT = 50.0
"""Natural logarithm of the largest perplexity that is told apart (5e21), so that means and deviations stay finite."""

Guess = dict[str, Any]
"""One guess: the hidden ``token``, the ``predicted`` one, and ``nll``, minus the logarithm of the true one's share."""


def perplexity(nll: float, count: float) -> float | None:
    """Return exp of the mean of ``count`` negative log likelihoods with the sum ``nll``; None of none."""
    return math.exp(min(nll / count, MAX_EXPONENT)) if count else None


def guesses_evaluate(guesses: Sequence[Sequence[Guess]], follows: Sequence[tuple[float, bool] | None]) -> Evaluate:
    """Return a function from chosen rows to the metrics of their guesses.

    ``perplexity`` is exp of the mean over all guesses of the chosen rows, so neither rows nor batches weigh alike;
    ``mlm_accuracy`` is the share of guesses whose likeliest token is the true one. ``nsp_accuracy`` is the share of
    pairs whose second text is rightly said to follow, or not to.

    Args:
        guesses: of each row.
        follows: of each row the probability that its second text is the next one, and whether it is.
    """
    nll = np.array([sum(one["nll"] for one in some) for some in guesses], dtype=np.float64)
    hits = np.array([sum(one["token"] == one["predicted"] for one in some) for some in guesses], dtype=np.int64)
    counts = np.array([len(some) for some in guesses], dtype=np.int64)
    is_pair = np.array([one is not None for one in follows], dtype=bool)
    is_right = np.array([one is not None and (one[0] >= 0.5) == one[1] for one in follows], dtype=bool)

    def evaluate(rows: Rows) -> dict[str, float]:
        count, pairs = int(counts[rows].sum()), int(is_pair[rows].sum())
        found = perplexity(float(nll[rows].sum()), count)
        scores = {} if found is None else {"perplexity": found, "mlm_accuracy": float(hits[rows].sum() / count)}
        return scores | ({"nsp_accuracy": float(is_right[rows].sum() / pairs)} if pairs else {})

    return evaluate


def unigram_nll(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return minus the logarithm of each token's share in a text, (vocabulary,), each counted once more than it is.

    The addition of one (Laplace) gives a token that the text lacks a small share, instead of none.
    """
    nll: NDArray[np.float64] = np.log(counts.sum() + len(counts)) - np.log(counts + 1.0)
    return nll


def tables(guesses: Sequence[Guess], *, num_rows: int = 20, fewest: int = 3) -> list[dict[str, Any]]:
    """Return tables for the report: the tokens that are guessed worst, and accuracy by how common a token is.

    Args:
        guesses: of all rows.
        num_rows: tokens that the first table shows.
        fewest: guesses from which on a token's mean is shown.
    """
    by_token: dict[str, list[Guess]] = defaultdict(list)
    for one in guesses:
        by_token[one["token"]].append(one)
    means = {
        token: sum(one["nll"] for one in some) / len(some) for token, some in by_token.items() if len(some) >= fewest
    }
    worst = sorted(means, key=lambda token: (-means[token], token))[:num_rows]
    found = []
    if worst:
        found.append({
            "title": "Tokens that are guessed worst",
            "note": f"Mean of minus the log probability of the true token; tokens hidden at least {fewest} times.",
            "columns": ["token", "hidden", "mean nll", "accuracy", "commonest guess"],
            "rows": [
                [token, len(by_token[token]), round(means[token], 3), _accuracy(by_token[token]),
                 _commonest([one["predicted"] for one in by_token[token]])]
                for token in worst
            ],
        })  # fmt: skip
    bounds = ((1, 1), (2, 4), (5, 19), (20, 99), (100, None))
    rows = []
    for low, high in bounds:
        held = [some for some in by_token.values() if low <= len(some) <= (high or len(some))]
        every = [one for some in held for one in some]
        if every:
            name = f"{low} or more" if high is None else str(low) if low == high else f"{low} to {high}"
            value = perplexity(sum(one["nll"] for one in every), len(every))
            rows.append([name, len(held), len(every), _accuracy(every), round(value or 0.0, 2)])
    if rows:
        found.append({
            "title": "Frequent and rare tokens",
            "note": "By how often a token was hidden in this split.",
            "columns": ["times hidden", "tokens", "guesses", "accuracy", "perplexity"],
            "rows": rows,
        })  # fmt: skip
    return found


def _accuracy(guesses: Sequence[Guess]) -> float:
    hits: int = sum(one["token"] == one["predicted"] for one in guesses)
    return round(hits / len(guesses), 4)


def _commonest(names: Sequence[str]) -> str:
    return max(dict.fromkeys(names), key=names.count)
