from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from headway.metrics.language_modelling import guesses_evaluate, perplexity, tables, unigram_nll


def guess(token: str, predicted: str, nll: float) -> dict[str, Any]:
    return {"token": token, "predicted": predicted, "nll": nll}


GUESSES = [
    [guess("a", "a", 0.5), guess("b", "a", 2.0)],
    [],
    [guess("c", "c", 0.1)],
]


def test_perplexity_is_exp_of_the_mean_and_stays_finite() -> None:
    assert perplexity(6.0, 3) == pytest.approx(math.exp(2))
    assert perplexity(1e300, 1) == pytest.approx(math.exp(50))
    assert perplexity(0.0, 0) is None


def test_chosen_rows_weigh_by_their_guesses() -> None:
    evaluate = guesses_evaluate(GUESSES, [(0.9, True), (0.6, False), None])
    assert evaluate(np.array([0, 1, 2])) == {
        "perplexity": pytest.approx(math.exp(2.6 / 3)), "mlm_accuracy": pytest.approx(2 / 3), "nsp_accuracy": 0.5
    }  # fmt: skip
    assert evaluate(np.array([2, 2])) == {"perplexity": pytest.approx(math.exp(0.1)), "mlm_accuracy": 1.0}
    assert evaluate(np.array([1])) == {"nsp_accuracy": 0.0}


def test_unigram_shares_sum_to_one_and_none_is_zero() -> None:
    nll = unigram_nll(np.array([8, 1, 0]))
    assert np.exp(-nll).tolist() == pytest.approx([9 / 12, 2 / 12, 1 / 12])


def test_tables_show_the_worst_and_the_rare() -> None:
    every = [guess("the", "the", 0.1)] * 30 + [guess("mite", "bee", 6.0)] * 3 + [guess("queen", "hive", 9.0)] * 2
    worst, frequency = tables(every)
    assert [row[0] for row in worst["rows"]] == ["mite", "the"]
    assert worst["rows"][0] == ["mite", 3, 6.0, 0.0, "bee"]
    assert [row[:4] for row in frequency["rows"]] == [["2 to 4", 2, 5, 0.0], ["20 to 99", 1, 30, 1.0]]
    assert all(len(row) == len(table["columns"]) for table in (worst, frequency) for row in table["rows"])
    assert json.dumps([worst, frequency], allow_nan=False)
    assert tables([]) == []
    assert len(tables(every, num_rows=1)[0]["rows"]) == 1
