from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from headway.metrics.intervals import bootstrap
from headway.metrics.texts import (
    ROUGE,
    BleuTokenizer,
    count_overlap,
    diagnosis_scorer,
    distinct,
    overlap_scorer,
    rouge_rows,
    rouge_scorer,
    sentence_bleu,
    signatures,
)

PREDICTED = [
    "The council will close the old bridge on Monday. Repairs are expected to take six weeks.",
    "A ferry carries walkers across the river, free of charge.",
    "Shops near the bridge fear for their trade",
    "",
    "Closed.",
]
REFERENCES = [
    ["From Monday the old bridge is closed for six weeks of repairs."],
    ["Walkers can cross the river by a free ferry.", "A free ferry carries walkers over the river.", "Take the ferry."],
    ["Shopkeepers fear that trade will suffer.", "Shops close to the bridge are afraid of losing trade."],
    ["Buses are diverted."],
    ["Closed.", "The bridge is closed until further notice."],
]
GERMAN = (
    ["Die alte Brücke wird am Montag gesperrt.", "Fußgänger können die Fähre benutzen."],
    [["Am Montag wird die alte Brücke gesperrt."], ["Für Fußgänger gibt es eine Fähre.", "Es fährt eine Fähre."]],
)


def streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """Return references as sacrebleu's public functions take them."""
    width = max(map(len, references))
    return [
        list(column) for column in zip(*([*true, *[None] * (width - len(true))] for true in references), strict=True)
    ]


# --- ROUGE ------------------------------------------------------------------------------------------------------------


def test_rouge_is_that_of_the_library() -> None:
    rows = rouge_rows(PREDICTED, REFERENCES)
    assert tuple(rows) == ROUGE
    library = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    for row, (said, true) in enumerate(zip(PREDICTED, REFERENCES, strict=True)):
        for name, score in library.score_multi(true, said).items():
            assert rows[name][row] == score.fmeasure
    # The best reference is not the first one, and the stemmer makes "closed" of "close".
    assert rows["rouge1"][1] > RougeScorer(["rouge1"]).score(REFERENCES[1][0], PREDICTED[1])["rouge1"].fmeasure
    assert rows["rouge1"][4] == 1


def test_rouge_lsum_compares_sentences() -> None:
    """With sentences in another order the longest common subsequence is lost, but that of each sentence is not."""
    said, true = "It rained all day. The match was off.", "The match was off. It rained all day."
    rows = rouge_rows([said], [[true]])
    assert rows["rougeL"] == pytest.approx(0.5)
    assert rows["rougeLsum"] == pytest.approx(1)
    assert rouge_rows(["off match\nit rained"], [["it rained\noff match"]])["rougeLsum"] == pytest.approx(1)


def test_rouge_lsum_of_the_paper() -> None:
    """Lin 2004, section 3.2: of w1..w5 the two sentences hold w1 w2 and w1 w3 w5, together 4 of 5."""
    rows = rouge_rows(["w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5"], [["w1 w2 w3 w4 w5"]])
    assert rows["rougeLsum"] == pytest.approx(2 * 0.8 * 0.4 / (0.8 + 0.4))


def test_rouge_by_hand() -> None:
    rows = rouge_rows(["police killed the gunman", "police"], [["the gunman kill police"], ["police"]])
    assert rows["rouge1"].tolist() == [1, 1]
    assert rows["rouge2"].tolist() == [pytest.approx(1 / 3), 0]  # one word has no pair
    assert rows["rougeL"].tolist() == [0.5, 1]


@pytest.mark.parametrize("name", ROUGE)
def test_nothing_said_scores_nothing(name: str) -> None:
    assert rouge_rows(["", " ", "...", "x"], [["x"], ["x"], ["x"], [""]])[name].tolist() == [0, 0, 0, 0]


def test_other_languages_keep_their_letters() -> None:
    said, true = ["für Köln", "Новости дня", "今日は晴れ", "हिन्दी समाचार"], [
        ["für Bonn"], ["Новости мира"], ["明日は晴れ"], ["हिन्दी भाषा"]
    ]  # fmt: skip
    rows = rouge_rows(said, true, language="de")
    assert rows["rouge1"].tolist() == pytest.approx([0.5, 0.5, 0.8, 0.5])
    # As English they would be "f r k ln" and "f r bonn", and of the other scripts nothing is left.
    assert rouge_rows(said, true)["rouge1"].tolist() == pytest.approx([2 * 2 / (4 + 3), 0, 0, 0])
    assert rouge_rows(["für"], [["f"]])["rouge1"] > 0
    assert rouge_rows(["für"], [["f"]], language="de")["rouge1"] == 0


@pytest.mark.parametrize(("language", "is_english"), [("en", True), ("en_GB", True), ("EN-us", True), ("et", False)])
def test_only_english_is_stemmed(language: str, is_english: bool) -> None:
    assert (rouge_rows(["closing"], [["closed"]], language=language)["rouge1"] == 1) == is_english


def test_the_scores_of_chosen_rows_are_means() -> None:
    rows = rouge_rows(PREDICTED, REFERENCES)
    score = rouge_scorer(rows)
    chosen = np.array([0, 4, 4, 1])
    assert score(chosen) == {name: pytest.approx(rows[name][chosen].mean()) for name in ROUGE}
    assert score(np.array([], dtype=np.int64)) == {}


WORDS = ["bridge", "old", "Montag", "Fähre", "не", "橋", "3.5", "closed,"]
TEXTS = st.lists(st.sampled_from(WORDS), min_size=2, max_size=12).map(" ".join)


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_a_prediction_equal_to_one_of_its_references_is_right(said: str, other: str) -> None:
    for name, scores in rouge_rows([said], [[other, said]], language="de").items():
        assert scores == pytest.approx(1), name
    long = f"{said} {said} end ."
    overlap = count_overlap([long], [[other, long]])
    assert overlap_scorer(overlap)(np.array([0])) == {"bleu": pytest.approx(100), "chrf": pytest.approx(100)}
    assert sentence_bleu(overlap) == pytest.approx(100)


# --- BLEU and chrF ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokenizer", ["13a", "intl", "zh", "char", "none"])
@pytest.mark.parametrize(("predicted", "references"), [(PREDICTED, REFERENCES), GERMAN])
def test_sums_over_rows_are_the_scores_of_the_library(
    tokenizer: BleuTokenizer, predicted: list[str], references: list[list[str]]
) -> None:
    score = overlap_scorer(count_overlap(predicted, references, tokenizer=tokenizer))
    rng = np.random.default_rng(0)
    draws = [np.arange(len(predicted)), *(rng.integers(0, len(predicted), size=(10, len(predicted))))]
    for chosen in draws:
        said, true = [predicted[row] for row in chosen], streams([references[row] for row in chosen])
        assert score(chosen) == {
            "bleu": pytest.approx(BLEU(tokenize=tokenizer).corpus_score(said, true).score, abs=1e-9),
            "chrf": pytest.approx(CHRF().corpus_score(said, true).score, abs=1e-9),
        }
    assert len({score(chosen)["chrf"] for chosen in draws}) > 2
    assert score(np.array([], dtype=np.int64)) == {}


def test_bleu_by_hand() -> None:
    score = overlap_scorer(count_overlap(["the cat sat on the mat"], [["the cat sat on a mat"]]))
    expected = 100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
    assert score(np.array([0]))["bleu"] == pytest.approx(expected)
    short = overlap_scorer(count_overlap(["the cat sat on"], [["the cat sat on a mat"]]))
    assert short(np.array([0]))["bleu"] == pytest.approx(100 * math.exp(1 - 6 / 4))


def test_the_count_of_a_word_is_clipped() -> None:
    """Papineni et al. 2002, section 2.1: seven times "the" against two references; two of them count."""
    overlap = count_overlap(["the " * 7], [["the cat is on the mat", "there is a cat on the mat"]])
    assert overlap.bleu.tolist() == [[7, 7, 2, 0, 0, 0, 7, 6, 5, 4]]


def test_bleu_of_single_rows() -> None:
    scores = sentence_bleu(count_overlap(PREDICTED, REFERENCES))
    expected = [
        BLEU(effective_order=True).sentence_score(said, true).score
        for said, true in zip(PREDICTED, REFERENCES, strict=True)
    ]
    assert scores == pytest.approx(expected)
    assert scores[3] == 0
    assert scores[4] == pytest.approx(100)  # two words have no group of four to be judged by


def test_text_that_looks_tokenized_is_scored_without_a_remark(caplog: pytest.LogCaptureFixture) -> None:
    score = overlap_scorer(count_overlap(["a red car ."] * 150, [["a red car ."]] * 150))
    assert score(np.arange(150))["bleu"] == pytest.approx(100)
    assert not caplog.records


@pytest.mark.parametrize("tokenizer", ["13a", "char"])
@pytest.mark.parametrize("references", [REFERENCES, [["a", "b"], ["c", "d"]], [["a"]]])
def test_signatures_are_those_of_the_library(references: list[list[str]], tokenizer: BleuTokenizer) -> None:
    bleu, chrf = BLEU(tokenize=tokenizer), CHRF()
    for metric in (bleu, chrf):
        metric.corpus_score(["a"] * len(references), streams(references))
    found = signatures(references, tokenizer=tokenizer)
    assert found == {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}
    assert f"tok:{tokenizer}" in found["bleu"]
    assert found["bleu"].startswith({5: "nrefs:var", 2: "nrefs:2", 1: "nrefs:1"}[len(references)])


def test_a_row_without_references_is_named() -> None:
    for function in (count_overlap, rouge_rows, diagnosis_scorer):
        with pytest.raises(ValueError, match="Row 1 "):
            function(["a", "b"], [["a"], []])
    with pytest.raises(ValueError, match="Row 0 "):
        signatures([[]])


def test_no_rows() -> None:
    nothing = np.array([], dtype=np.int64)
    assert rouge_scorer(rouge_rows([], []))(nothing) == {}
    assert overlap_scorer(count_overlap([], []))(nothing) == {}
    assert diagnosis_scorer([], [])(nothing) == {}
    assert distinct([]) == {"distinct_1": 0, "distinct_2": 0}


def test_scores_have_intervals() -> None:
    score = overlap_scorer(count_overlap(PREDICTED * 5, REFERENCES * 5))
    found = bootstrap(score, 25, num_resamples=50)
    assert found["bleu"].low < found["bleu"].value < found["bleu"].high
    assert found["chrf"].low < found["chrf"].value < found["chrf"].high


# --- what was said ----------------------------------------------------------------------------------------------------


def test_diagnosis_by_hand() -> None:
    predicted = ["one two three four five", "No, no, no, no!", " "]
    references = [["a b c d"], ["x", "x y z"], ["x y"]]
    sources = ["zero One two three four. Six five", "no no", "anything"]
    score = diagnosis_scorer(predicted, references, sources=sources)
    assert score(np.arange(3)) == {
        "predicted_words": pytest.approx(9 / 3),
        "reference_words": pytest.approx((4 + 2 + 2) / 3),
        "length_ratio": pytest.approx(9 / 8),
        "empty_rate": pytest.approx(1 / 3),
        "repetition_rate": pytest.approx(1 / 5),  # of three triples and two, one is said again
        "copy_rate": pytest.approx(1 / 3),  # of two fours and one, the first stands in the source
    }
    drawn = score(np.array([1, 1, 0]))
    assert drawn["repetition_rate"] == pytest.approx(2 / 7)
    assert drawn["copy_rate"] == pytest.approx(1 / 4)
    assert drawn["empty_rate"] == 0
    assert "copy_rate" not in diagnosis_scorer(predicted, references)(np.arange(3))


def test_diagnosis_of_nothing_said() -> None:
    score = diagnosis_scorer(["", ""], [["..."], [""]], sources=["a", "b"])(np.arange(2))
    assert score == {
        "predicted_words": 0, "reference_words": 0, "length_ratio": 0, "empty_rate": 1, "repetition_rate": 0,
        "copy_rate": 0,
    }  # fmt: skip


def test_words_of_other_scripts_are_counted() -> None:
    score = diagnosis_scorer(["今日は晴れ", "हिन्दी समाचार"], [["晴れ"], ["हिन्दी"]])(np.arange(2))
    assert score["predicted_words"] == (5 + 2) / 2
    assert score["reference_words"] == (2 + 1) / 2


def test_distinct_counts_over_the_split() -> None:
    # Words: i, do, not, know (4) of 11; pairs: i do, do not, not know, know i (4); none reaches over two rows.
    assert distinct(["I do not know", "i do", "I do not know, I"]) == {
        "distinct_1": pytest.approx(4 / 11),
        "distinct_2": pytest.approx(4 / 11),
    }
    assert distinct(["yes", "no"]) == {"distinct_1": 1, "distinct_2": 0}


@pytest.mark.slow
def test_dialogsum_scores_as_the_library_does(shared_data: Path) -> None:
    with (shared_data / "dialogsum" / "dialogsum.test.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    said = [row["summary1"] for row in rows]
    true = [[row["summary2"], row["summary3"]] for row in rows]
    library = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    expected = [library.score_multi(*one) for one in zip(true, said, strict=True)]
    found = rouge_rows(said, true)
    for name in ("rouge1", "rouge2", "rougeL"):
        assert found[name].tolist() == [one[name].fmeasure for one in expected]
    score = overlap_scorer(count_overlap(said, true))(np.arange(len(rows)))
    assert score["bleu"] == pytest.approx(BLEU().corpus_score(said, streams(true)).score, abs=1e-9)
    assert score["chrf"] == pytest.approx(CHRF().corpus_score(said, streams(true)).score, abs=1e-9)
