from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.text.squad import squad

from headway.data.options import DataOptions
from headway.data.table import Table
from headway.metrics.answers import best_threshold, exact_match, f1, normalize, scorer, span_scores, tables
from headway.tasks.question_answering import QuestionAnswering


def official(predicted: list[str], golds: list[list[str]]) -> dict[str, float]:
    """Return what torchmetrics' port of the script of SQuAD 1.1 says, from 0 to 1."""
    found = squad(
        [{"prediction_text": text, "id": str(n)} for n, text in enumerate(predicted)],
        [{"answers": {"text": gold, "answer_start": [0] * len(gold)}, "id": str(n)} for n, gold in enumerate(golds)],
    )
    return {name: value.item() / 100 for name, value in found.items()}


def test_normalization() -> None:
    assert normalize("The  Broncos' (AFC) champion, a team") == "broncos afc champion team"
    assert normalize("U.S.-led anthem") == "usled anthem"
    assert normalize("The") == ""


def test_scores_by_hand() -> None:
    assert exact_match("the Denver Broncos.", ["Carolina", "Denver broncos"]) == 1
    assert f1("Denver Broncos won", ["Broncos", "the Denver team"]) == pytest.approx(0.5)
    assert f1("the red red car", ["a red car"]) == pytest.approx(2 * 2 / (3 + 2))
    # Without a true answer only "" is right, and with one it is wrong.
    assert (exact_match("", []), f1("", []), exact_match("x", []), f1("x", [])) == (1, 1, 0, 0)
    assert (exact_match("", ["x"]), f1("", ["x"])) == (0, 0)
    # Of a true answer that is nothing but an article, nothing is left to compare.
    assert f1("x", ["the", "x"]) == 1
    assert f1("", ["the", "x"]) == 0


WORDS = st.lists(st.sampled_from(["the", "a", "red", "Red", "car", "car,", "(blue)", "two", "2.5"]), max_size=5).map(
    " ".join
)


@given(st.lists(st.tuples(WORDS, st.lists(WORDS.filter(normalize), min_size=1, max_size=3)), min_size=1, max_size=6))
def test_it_is_the_official_score(rows: list[tuple[str, list[str]]]) -> None:
    predicted, golds = [text for text, _ in rows], [gold for _, gold in rows]
    expected = official(predicted, golds)
    assert scorer(predicted, golds)(np.arange(len(rows))) == pytest.approx(expected, abs=1e-6)


def test_parts_and_the_best_threshold() -> None:
    golds = [["red"], ["blue car"], [], []]
    spans, differences = ["red", "car", "x", "y"], [-2.0, 1.0, 3.0, -1.0]
    predicted = ["red", "", "", "y"]  # at the threshold 0
    score = scorer(predicted, golds, spans=spans, differences=differences)
    assert score(np.arange(4)) == {
        "exact_match": 0.5,
        "f1": 0.5,
        "exact_match_has_answer": 0.5,
        "f1_has_answer": 0.5,
        "accuracy_no_answer": 0.5,
        # No answer from the second row on, or from the fourth: three right of four.
        "best_exact_match": 0.75,
        "best_f1": 0.75,
    }
    assert "f1_has_answer" not in score(np.array([2, 3]))
    assert "accuracy_no_answer" not in score(np.array([0, 0]))
    assert scorer(predicted, golds)(np.array([], dtype=int)) == score(np.array([], dtype=int)) == {}
    assert best_threshold(*span_scores(spans, golds), np.array(differences)) == pytest.approx(-1.5)


# In steps of a millionth: sums that differ by a billionth count as equal, as rounding would make them.
SHARES = st.floats(0, 1).map(lambda share: round(share, 6))


@given(st.lists(st.tuples(SHARES, st.booleans(), st.integers(-5, 5)), min_size=1, max_size=12))
def test_no_threshold_is_better_than_the_best(rows: list[tuple[float, bool, int]]) -> None:
    answered = np.array([0.0 if is_empty else share for share, is_empty, _ in rows])
    unanswered = np.array([float(is_empty) for _, is_empty, _ in rows])
    differences = np.array([float(one) for _, _, one in rows])

    def mean(threshold: float) -> float:
        return float(np.where(differences > threshold, unanswered, answered).mean())

    best = mean(best_threshold(answered, unanswered, differences))
    assert best == pytest.approx(max(mean(one) for one in np.arange(-7, 7, 0.5)))


def test_the_best_scores_of_chosen_rows_are_those_of_a_plain_search() -> None:
    rng = np.random.default_rng(0)
    golds = [[] if rng.random() < 0.4 else ["red car"] for _ in range(30)]
    spans = [str(rng.choice(["red car", "car", "blue"])) for _ in golds]
    differences = rng.integers(-4, 5, size=30).astype(float)
    score = scorer(spans, golds, spans=spans, differences=differences.tolist())
    answered, unanswered = span_scores(spans, golds)
    for _ in range(20):
        rows = rng.integers(0, 30, size=30)
        means = [
            np.where(differences[rows] > threshold, unanswered[rows], answered[rows]).mean()
            for threshold in np.arange(-5.5, 5.5)
        ]
        assert score(rows)["best_f1"] == pytest.approx(max(means))


def test_tables_of_the_report() -> None:
    words, lengths, worst = tables(
        ["Who is it?", "In what year did WHO begin?", "Name it.", "Where?"],
        ["Ann", "1950", "", "in a far away house"],
        [["Ann"], ["1948", "in 1948"], [], ["house"]],
        [0.9, 0.8, 0.7, None],
    )
    assert words["rows"] == [
        ["who", 1, 1.0, 1.0],
        ["what", 1, 0.0, 0.0],
        ["where", 1, 0.0, 0.4],
        ["other", 1, 1.0, 1.0],
    ]
    assert [row[:2] for row in lengths["rows"]] == [["no answer", 1], ["1", 3]]
    assert [row[0] for row in worst["rows"]] == ["In what year did WHO begin?", "Where?"]
    assert worst["rows"][0][1:] == ["1948 | in 1948", "1950", 0.0, 0.8]
    assert json.dumps([words, lengths, worst], allow_nan=False)


@pytest.mark.slow
def test_it_is_the_official_score_of_all_questions_of_the_dev_set(shared_data: Path) -> None:
    path = str(shared_data / "squad" / "dev-v1.1.json.gz")
    options = DataOptions(train=path, format="squad")
    table = Table.read(path, options=options, columns=QuestionAnswering().columns, need_gold=True)
    golds = [answers["text"] for answers in table.column("answers")]
    for predicted in ([gold[-1] for gold in golds], [f"the {gold[0]} of {gold[-1]}" for gold in golds]):
        # The last annotator against the others, so that not everything is right.
        others = [gold[:-1] or gold for gold in golds]
        assert scorer(predicted, others)(np.arange(len(golds))) == pytest.approx(official(predicted, others), abs=1e-5)
