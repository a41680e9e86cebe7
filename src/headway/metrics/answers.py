"""Scores of answers to questions: exact match and word F1 by the official rules of SQuAD, from 0 to 1.

Called by question answering with decoded predictions. The rules are those of the evaluation scripts of SQuAD 1.1
(Rajpurkar et al. 2016) and 2.0 (Rajpurkar et al. 2018), whose figures are a hundred times ours: case, punctuation and
English articles do not count, and of several true answers the one that fits best does.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
QUESTION_WORDS = ("who", "whose", "whom", "what", "which", "when", "where", "why", "how")
WORST_SHOWN = 20


def normalize(text: str) -> str:
    """Return a text as it is compared: lower case, without punctuation and articles, words apart by one blank."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(predicted: str, golds: Sequence[str]) -> float:
    """Return 1 if the prediction is one of the true answers, else 0; without true answers, "" is the right one."""
    said = normalize(predicted)
    return float(any(said == normalize(gold) for gold in _scorable(golds)))


def f1(predicted: str, golds: Sequence[str]) -> float:
    """Return the F1 of the words of the prediction against the true answer that fits it best."""
    said = normalize(predicted).split()
    return max(_f1(said, normalize(gold).split()) for gold in _scorable(golds))


def _scorable(golds: Sequence[str]) -> Sequence[str]:
    """Return the true answers of which anything is left to compare; "no answer" where there is none."""
    return [gold for gold in golds if normalize(gold)] or [""]


def _f1(said: list[str], true: list[str]) -> float:
    if not said or not true:
        return float(said == true)
    common = sum((Counter(said) & Counter(true)).values())
    return 2 * common / (len(said) + len(true))


def scorer(
    predicted: Sequence[str],
    golds: Sequence[Sequence[str]],
    *,
    spans: Sequence[str] | None = None,
    differences: Sequence[float] | None = None,
) -> Callable[[NDArray[np.int64]], dict[str, float]]:
    """Return a function from row numbers to the scores of these rows.

    - ``exact_match``, ``f1``: means over the rows.
    - with ``spans``, for data in which some questions have no answer: ``exact_match_has_answer`` and
      ``f1_has_answer`` over the rows that have one, ``accuracy_no_answer`` over the others, and ``best_exact_match``
      and ``best_f1``: what the best threshold for "no answer" would have given on these very rows.

    Args:
        predicted: the answer given to each row; "" says that there is none.
        golds: the true answers of each row; none where the question cannot be answered.
        spans: the best answer of each row that is not "".
        differences: by how much each row prefers "no answer" to that.
    """
    exact = np.array([exact_match(*one) for one in zip(predicted, golds, strict=True)])
    overlap = np.array([f1(*one) for one in zip(predicted, golds, strict=True)])
    if spans is None or differences is None:
        return lambda rows: (
            {"exact_match": float(exact[rows].mean()), "f1": float(overlap[rows].mean())} if len(rows) else {}
        )
    is_empty = np.array([not gold for gold in golds])
    best_exact, best_overlap = (
        _best(*span_scores(spans, golds, score=score), np.asarray(differences)) for score in (exact_match, f1)
    )

    def evaluate(rows: NDArray[np.int64]) -> dict[str, float]:
        if not len(rows):
            return {}
        scores = {"exact_match": float(exact[rows].mean()), "f1": float(overlap[rows].mean())}
        answerable, others = rows[~is_empty[rows]], rows[is_empty[rows]]
        if len(answerable):
            scores["exact_match_has_answer"] = float(exact[answerable].mean())
            scores["f1_has_answer"] = float(overlap[answerable].mean())
        if len(others):
            scores["accuracy_no_answer"] = float(exact[others].mean())
        counts = np.bincount(rows, minlength=len(is_empty))
        return {**scores, "best_exact_match": best_exact(counts), "best_f1": best_overlap(counts)}

    return evaluate


def span_scores(
    spans: Sequence[str], golds: Sequence[Sequence[str]], *, score: Callable[[str, Sequence[str]], float] = f1
) -> tuple[Floats, Floats]:
    """Return two arrays (rows,): the score of each row's span, and of saying that there is no answer."""
    answered = np.array([score(*one) for one in zip(spans, golds, strict=True)], dtype=np.float64)
    return answered, np.array([score("", gold) for gold in golds], dtype=np.float64)


def best_threshold(answered: Floats, unanswered: Floats, differences: Floats) -> float:
    """Return the threshold with the highest mean score; a row whose difference is greater is not answered.

    Of the places between two neighbouring differences the middle is taken; of equally good ones the nearest to 0.

    Args:
        answered: (rows,) score of each row if it is answered.
        unanswered: (rows,) score of each row if it is not.
        differences: (rows,) by how much the model prefers "no answer".
    """
    order, cuts, gains = _cuts(answered, unanswered, differences)
    totals = np.cumsum(np.concatenate([[0.0], gains]))[cuts]
    ascending = differences[order]
    below = np.concatenate([[ascending[0] - 1.0], ascending])[cuts]
    above = np.concatenate([ascending, [ascending[-1] + 1.0]])[cuts]
    best = np.flatnonzero(totals >= totals.max() - 1e-9)
    middles = (below[best] + above[best]) / 2
    return float(middles[np.abs(middles).argmin()])


def _cuts(answered: Floats, unanswered: Floats, differences: Floats) -> tuple[Any, Any, Floats]:
    """Return the rows in order of difference, how many of them each threshold may answer, and what each one gains."""
    order = np.argsort(differences, kind="stable")
    ascending = differences[order]
    # Rows of one difference are answered together or not at all.
    cuts = np.flatnonzero(np.concatenate([[True], ascending[1:] > ascending[:-1], [True]]))
    return order, cuts, (answered - unanswered)[order]


def _best(answered: Floats, unanswered: Floats, differences: Floats) -> Callable[[NDArray[np.int64]], float]:
    """Return a function from how often each row counts to the mean score under the best threshold."""
    order, cuts, gains = _cuts(answered, unanswered, differences)

    def best(counts: NDArray[np.int64]) -> float:
        totals = np.cumsum(np.concatenate([[0.0], gains * counts[order]]))[cuts]
        return float((unanswered @ counts + totals.max()) / counts.sum())

    return best


def tables(
    questions: Sequence[str], predicted: Sequence[str], golds: Sequence[Sequence[str]], sure: Sequence[float | None]
) -> list[dict[str, Any]]:
    """Return tables for the report: scores by question word and by length of the answer, and the worst answers."""
    exact = np.array([exact_match(*one) for one in zip(predicted, golds, strict=True)])
    overlap = np.array([f1(*one) for one in zip(predicted, golds, strict=True)])

    def grouped(title: str, note: str, column: str, names: Sequence[str], order: Sequence[str]) -> dict[str, Any]:
        rows = []
        for name in order:
            held = np.array([one == name for one in names])
            if held.any():
                rows.append([name, int(held.sum()), float(exact[held].mean()), float(overlap[held].mean())])
        return {"title": title, "note": note, "columns": [column, "rows", "exact match", "F1"], "rows": rows}

    worst = sorted(np.flatnonzero(overlap < 1).tolist(), key=lambda row: (overlap[row], -(sure[row] or 0.0)))
    return [
        grouped(
            "Question words",
            "The first of these words in the question.",
            "question word",
            [_question_word(question) for question in questions],
            (*QUESTION_WORDS, "other"),
        ),
        grouped(
            "Length of the answer",
            "Words of the shortest true answer.",
            "words",
            [_length(gold) for gold in golds],
            ("no answer", "1", "2", "3 to 5", "6 to 10", "over 10"),
        ),
        {
            "title": "Worst answers",
            "note": "No word in common with a true answer first, of these the surest.",
            "columns": ["question", "true answers", "predicted", "F1", "probability"],
            "rows": [
                [
                    questions[row],
                    " | ".join(dict.fromkeys(golds[row])) or "(no answer)",
                    predicted[row] or "(no answer)",
                    float(overlap[row]),
                    sure[row],
                ]
                for row in worst[:WORST_SHOWN]
            ],
        },
    ]


def _question_word(question: str) -> str:
    words = re.findall(r"\w+", question.lower())
    return next((word for word in words if word in QUESTION_WORDS), "other")


def _length(golds: Sequence[str]) -> str:
    if not golds:
        return "no answer"
    words = min(len(gold.split()) for gold in golds)
    if words <= 2:
        return str(words)
    return "3 to 5" if words <= 5 else "6 to 10" if words <= 10 else "over 10"
