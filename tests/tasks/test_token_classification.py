from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import AutoTokenizer

from headway.data.table import Table
from headway.errors import DataError, RecipeError
from headway.models.losses import CrossEntropy
from headway.recipe import Recipe
from headway.tasks.base import Limits
from headway.tasks.token_classification import TokenClassification
from headway.tokenising import encode_table
from headway.types import Features, Prediction, Row

SENTENCES = [
    ("the old man found bread in sun street", "O O B-PER O O O B-LOC I-LOC"),
    ("she never loved the green city", "O O O O B-LOC I-LOC"),
    ("two small boys", "O O B-PER"),
    ("garden", "B-LOC"),
    ("what a sad film", "O O O O"),
    ("cat house and dog", "B-PER B-LOC O B-PER"),
    ("the woman came to the house", "O B-PER O O O B-LOC"),
    ("rain", "O"),
]
TEXTS = [
    "The old man, in Sun-Street.", "she loved it", "two small boys!", "garden", "what a sad film",
    "cat (house) and dog", "the woman came", "rain",
]  # fmt: skip
SPANS = [
    [[4, 11, "PER"], [16, 26, "LOC"]], [], [[10, 14, "PER"]], [[0, 6, "LOC"]], [], [[0, 3, "PER"], [5, 10, "LOC"]],
    [[4, 9, "PER"]], [],
]  # fmt: skip
POS = [" ".join("ADJ" if word in ("old", "green", "small", "sad") else "X" for word in s.split()) for s, _ in SENTENCES]


def tagged(sentences: list[tuple[str, str]]) -> list[Row]:
    return [{"tokens": text.split(), "tags": tags.split()} for text, tags in sentences]


def in_iob1(tags: str) -> str:
    # No entity of these sentences follows another of its type.
    return tags.replace("B-", "I-")


CASES: dict[str, tuple[dict[str, Any], list[Row]]] = {
    "entities": ({}, tagged(SENTENCES)),
    "IOB1": ({"constrained": False}, tagged([(text, in_iob1(tags)) for text, tags in SENTENCES])),
    "plain tags": ({}, tagged([(text, POS[n]) for n, (text, _) in enumerate(SENTENCES)])),
    "spans": ({}, [{"text": text, "spans": spans} for text, spans in zip(TEXTS, SPANS, strict=True)]),
}


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


def table_of(*rows: Row) -> Table:
    return Table.from_rows(rows, name="rows.jsonl")


def resolved(*tags: str, **options: Any) -> TokenClassification:
    rows = [{"tokens": ["a"] * len(one.split()), "tags": one.split()} for one in tags]
    return TokenClassification(**options).resolve(table_of(*rows))


NER = TokenClassification(scheme="IOB2", labels=("O", "B-LOC", "B-PER", "I-LOC", "I-PER"), words="whole")


# --- what is learnt from the rows -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "scheme", "labels"),
    [
        (["O B-b I-b", "B-a"], "IOB2", ("O", "B-a", "B-b", "I-a", "I-b")),
        (["O I-b I-b B-b", "I-a"], "IOB1", ("O", "B-a", "B-b", "I-a", "I-b")),
        (["S-a O B-a I-a E-a"], "BIOES", ("O", "B-a", "I-a")),
        (["NN VB", ", O"], "none", ("O", ",", "NN", "VB")),
    ],
)
def test_scheme_and_labels_follow_from_the_tags(tags: list[str], scheme: str, labels: tuple[str, ...]) -> None:
    task = resolved(*tags)
    assert (task.scheme, task.labels, task.words) == (scheme, labels, "whole")
    assert task.main_metric == ("accuracy" if scheme == "none" else "f1")


def test_a_named_scheme_and_listed_labels_count() -> None:
    assert resolved("O I-a O", scheme="IOB2").scheme == "IOB2"
    assert resolved("B-a O", scheme="none").labels == ("O", "B-a")
    assert resolved("B-a O", labels=("I-a", "O", "B-a")).labels == ("I-a", "O", "B-a")
    assert [TokenClassification(scheme=name).scheme for name in ("IOBES", "BILOU", "BIO")] == ["BIOES", "BIOES", "IOB2"]


@pytest.mark.parametrize(
    ("tags", "options", "kind", "message"),
    [
        (["O B-a O I-a"], {}, DataError, "the tags keep to no scheme: 'B-a' follows no a .*Correct them, or name"),
        (["B-a PER"], {}, DataError, "'PER' is a plain tag beside those with B-"),
        (["O O", "O"], {}, DataError, "all words have the tag 'O'; this task needs at least 2"),
        (["0 1 2"], {}, DataError, r"all tags are numbers. Name them in data.label_names"),
        (["B-a"], {"labels": ("B-a", "I-a")}, RecipeError, "the tags of entities are O, and B- and I-"),
        (["B-a"], {"labels": ("O", "a")}, RecipeError, "the tags of entities are O"),
    ],
)
def test_tags_that_cannot_serve(tags: list[str], options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        resolved(*tags, **options)


def test_spans_are_cut_into_parts() -> None:
    task = TokenClassification().resolve(table_of({"text": "Oslo.", "spans": [[0, 4, "LOC"]]}))
    assert (task.scheme, task.labels, task.words) == ("IOB2", ("O", "B-LOC", "I-LOC"), "parts")
    with pytest.raises(RecipeError, match="spans mark entities, which 'none' has not"):
        TokenClassification(scheme="none").resolve(table_of({"text": "Oslo.", "spans": [[0, 4, "LOC"]]}))
    with pytest.raises(DataError, match=r"these rows hold 'text'\. To learn tags they need 'tokens' and 'tags', or"):
        TokenClassification().resolve(table_of({"text": "Oslo."}))


def test_options_are_checked() -> None:
    with pytest.raises(ValidationError, match="these stand twice: O"):
        TokenClassification(labels=("O", "O"))
    with pytest.raises(RecipeError, match=r"does not read a text by 'tail'. Use one of head, window"):
        Recipe.from_dict({"task": "token-classification", "data": {"train": "a.conll", "truncation": "tail"}})


def test_rows_without_spans_are_named() -> None:
    table = table_of({"text": "a", "spans": []}, {"text": "b"})
    with pytest.raises(DataError, match=r"rows.jsonl: 1 rows have no 'spans' \(rows.jsonl, row 2\)"):
        NER.prepare(table, 0)


def test_weights_count_words() -> None:
    table = table_of({"tokens": ["a"] * 4, "tags": ["O", "O", "O", "B-a"]})
    task = TokenClassification().resolve(table)
    assert task.class_weights(table, "balanced") == pytest.approx([4 / 9, 4 / 3, 4 / 3])
    assert task.class_weights(table, {"B-a": 5}) == [1.0, 5.0, 1.0]
    with pytest.raises(RecipeError, match="there is no label 'B-b'"):
        task.class_weights(table, {"B-b": 5})


# --- from rows to targets ---------------------------------------------------------------------------------------------


def test_a_word_is_labelled_on_its_first_token(tokenizer: Any) -> None:
    row = {"tokens": ["the", "gardens", "shows", "rain"], "tags": ["O", "B-LOC", "I-LOC", "B-PER"]}
    (features,) = NER.encode(row, tokenizer, Limits())
    assert tokenizer.convert_ids_to_tokens(features.inputs["input_ids"])[1:4] == ["the", "garden", "##s"]
    shown = [NER.labels[n] if n >= 0 else "-" for n in features.targets["labels"]]
    assert [one for one in shown if one != "-"] == row["tags"]
    assert shown[:4] == ["-", "O", "B-LOC", "-"]
    batch = NER.collate([features, *NER.encode({"tokens": ["a"], "tags": ["O"]}, tokenizer, Limits())], tokenizer)
    assert batch.targets["labels"].shape == batch.inputs["input_ids"].shape
    assert (batch.targets["labels"][1, 3:] == -100).all()


def test_the_loss_sees_words_only() -> None:
    logits = torch.randn(2, 4, 5, requires_grad=True)
    labels = torch.tensor([[-100, 3, -100, 0], [-100, 1, -100, -100]])
    seen: list[Any] = []

    class Batched:
        targets = {"labels": labels}  # noqa: RUF012

    def criterion(some: Any, targets: Any) -> Any:
        seen.append((some, targets))
        return CrossEntropy()(some, targets)

    loss = NER.loss({"logits": logits}, Batched(), criterion)  # type: ignore[arg-type]
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
    assert torch.isclose(loss, expected)
    assert seen[0][0].shape == (3, 5)
    assert seen[0][1].tolist() == [3, 0, 1]
    labels[:] = -100
    empty = NER.loss({"logits": logits}, Batched(), criterion)  # type: ignore[arg-type]
    empty.backward()
    assert empty == 0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "row 1: there are 2 tokens and 1 tags"),
        ({"tokens": ["a"], "tags": ["B-ORG"]}, "row 1: the tag of word 1 is 'B-ORG', which is not among the labels"),
        ({"text": "a", "tags": ["O"]}, "column 'tags' needs 'tokens'"),
        ({"tokens": ["a"], "spans": []}, "column 'spans' counts characters of a 'text'"),
        ({"text": "abc", "spans": [[0, 9, "LOC"]]}, r"row 1: span 1 \(LOC\) goes from 0 to 9, and the text has 3"),
    ],
)
def test_a_row_that_does_not_fit_is_named(row: Row, message: str, tokenizer: Any) -> None:
    with pytest.raises(DataError, match=message):
        list(encode_table(table_of(row), NER, tokenizer, Limits()))


def test_each_word_of_a_long_sentence_has_one_target(tokenizer: Any) -> None:
    tags = ["B-LOC" if n % 3 == 0 else "O" for n in range(50)]
    features = NER.encode({"tokens": ["cat"] * 50, "tags": tags}, tokenizer, Limits(max_length=12, doc_stride=4))
    assert len(features) > 4
    labels = [n for one in features for n in one.targets["labels"] if n != -100]
    assert [NER.labels[n] for n in labels] == tags
    assert sum(one.extra["tokens_lost"] for one in features) == 0


# --- from logits to spans ---------------------------------------------------------------------------------------------


def predicted(
    task: TokenClassification, row: Row, tokenizer: Any, want: dict[int, str], limits: Limits | None = None
) -> Prediction:
    """Return the prediction where the model says ``want`` at the words with these numbers, and O at the others."""
    parts = []
    for features in task.encode(row, tokenizer, limits or Limits()):
        logits = torch.zeros(1, features.length, len(task.labels))
        for word, position in zip(features.extra["words"], features.extra["positions"], strict=True):
            logits[0, position, task.labels.index(want.get(word, task.labels[0]))] = 10.0
        parts += task.decode({"logits": logits}, task.collate([features], tokenizer), [row], tokenizer)
    return task.merge(parts)


def test_spans_of_raw_text_count_its_characters(tokenizer: Any) -> None:
    row = {"text": "  She saw (New\tYork), twice."}
    task = NER.model_copy(update={"words": "parts"})
    found = predicted(task, row, tokenizer, {3: "B-LOC", 4: "I-LOC"})
    (span,) = found.value
    assert {name: span[name] for name in ("start", "end", "label", "text")} == {
        "start": 11, "end": 19, "label": "LOC", "text": "New\tYork",
    }  # fmt: skip
    assert span["score"] == pytest.approx(float(torch.softmax(torch.tensor([10.0, 0, 0, 0, 0]), 0)[0]), abs=1e-5)
    assert found.detail == {}


def test_tokens_have_tags_and_spans_of_the_joined_text(tokenizer: Any) -> None:
    row = {"tokens": ["in", "New", "York", "\x01", "now"]}
    found = predicted(NER, row, tokenizer, {1: "B-LOC", 2: "I-LOC"})
    assert found.detail == {"tags": ["O", "B-LOC", "I-LOC", "O", "O"]}
    assert [(one["start"], one["end"], one["text"]) for one in found.value] == [(3, 11, "New York")]
    assert json.dumps(found.value)


def test_a_word_without_a_token_is_outside_and_parts_an_entity(tokenizer: Any) -> None:
    row = {"tokens": ["New", "\u200b", "York"]}
    found = predicted(NER, row, tokenizer, {0: "B-LOC", 1: "I-LOC", 2: "I-LOC"})
    assert found.detail["tags"][1] == "O"
    assert "I-LOC" not in found.detail["tags"]
    (features,) = NER.encode(row, tokenizer, Limits())
    assert features.extra["tokens_lost"] == 1


def test_constrained_tags_are_well_formed_and_others_score_as_they_are(tokenizer: Any) -> None:
    row, want = {"tokens": ["in", "New", "York"]}, {1: "I-LOC", 2: "I-PER"}
    free = predicted(NER.model_copy(update={"constrained": False}), row, tokenizer, want)
    assert (free.detail["tags"], free.value) == (["O", "I-LOC", "I-PER"], [])
    bound = predicted(NER, row, tokenizer, want)
    assert all(one != "I-LOC" for one in bound.detail["tags"][:2])


def test_windows_are_joined(tokenizer: Any) -> None:
    row = {"tokens": ["cat"] * 40}
    want = {number: "B-LOC" if number % 2 else "B-PER" for number in range(40)}
    found = predicted(NER, row, tokenizer, want, Limits(max_length=12, doc_stride=4))
    assert found.detail["tags"] == [want[number] for number in range(40)]
    cut = predicted(NER, row, tokenizer, want, Limits(max_length=12, doc_stride=4, max_windows=2))
    assert cut.detail["tags"] == [want[number] for number in range(16)] + ["O"] * 24


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    seed=st.integers(0, 99),
    constrained=st.booleans(),
    split=st.sampled_from(["whole", "parts"]),
)
def test_every_span_is_where_it_says(text: str, seed: int, constrained: bool, split: Any, tokenizer: Any) -> None:
    task = NER.model_copy(update={"constrained": constrained, "words": split})
    torch.manual_seed(seed)
    for row in ({"text": text}, {"tokens": text.split(" ")}):
        whole = text if "text" in row else " ".join(row["tokens"])
        parts = []
        for features in task.encode(row, tokenizer, Limits(max_length=10, doc_stride=3)):
            outputs = {"logits": torch.randn(1, features.length, 5)}
            parts += task.decode(outputs, task.collate([features], tokenizer), [row], tokenizer)
        found = task.merge(parts)
        assert all(whole[one["start"] : one["end"]] == one["text"] for one in found.value)
        assert all(0 < one["score"] <= 1 for one in found.value)
        places = [place for one in found.value for place in (one["start"], one["end"])]
        assert places == sorted(places)
        assert "tokens" not in row or len(found.detail["tags"]) == len(row["tokens"])


# --- scores, baselines, checks ----------------------------------------------------------------------------------------


def test_scores_of_spans_are_those_of_their_characters() -> None:
    task = NER.model_copy(update={"words": "parts"})
    row = {"text": "The NewYork man", "spans": [[4, 7, "LOC"], [12, 15, "PER"]]}
    right = {"start": 12, "end": 15, "label": "PER", "text": "man", "score": 1.0}
    near = {"start": 4, "end": 11, "label": "LOC", "text": "NewYork", "score": 1.0}
    scores = task.evaluate([Prediction([near, right])], [row])
    # Half a word can never be given exactly, and that counts as a mistake; the words all have the right tag.
    assert (scores["f1"], scores["precision"], scores["recall"], scores["accuracy"]) == (0.5, 0.5, 0.5, 1.0)
    report = task.check({"train": table_of(row)}, {})
    (finding,) = [one for one in report.warnings if one.name == "span_within_word"]
    assert finding.count == 1
    outcomes = {
        name: number for name, number, _ in task.details([Prediction([near, right])], [row])["tables"][0]["rows"]
    }
    assert (outcomes["exactly right"], outcomes["overlaps, same type"]) == (1, 1)


def test_the_baseline_knows_words() -> None:
    rows = tagged([("Oslo is old", "B-LOC O O"), ("New Oslo", "B-LOC I-LOC"), ("Oslo sleeps", "B-LOC O")])
    task = TokenClassification().resolve(table_of(*rows))
    found = task.baselines(rows, [{"tokens": ["old", "Oslo", "sings"], "tags": ["O", "B-LOC", "O"]}], seed=0)
    assert found["majority"][0].detail["tags"] == ["O", "O", "O"]
    assert found["majority_of_word"][0].detail["tags"] == ["O", "B-LOC", "O"]
    assert found["majority_of_word"][0].value[0]["text"] == "Oslo"


def test_gold_has_the_form_of_a_prediction() -> None:
    row = {"tokens": ["in", "New", "York"], "tags": ["O", "B-LOC", "I-LOC"]}
    assert [(one["text"], one["label"], one["start"]) for one in NER.gold(row)] == [("New York", "LOC", 3)]
    assert NER.gold({"text": "in Oslo", "spans": [[3, 7, "LOC"]]}) == [
        {"start": 3, "end": 7, "label": "LOC", "text": "Oslo"}
    ]
    assert NER.gold({"text": "in Oslo"}) is None
    with pytest.raises(DataError, match="every row needs 'tags' beside its 'tokens'"):
        NER.evaluate([NER.merge([_part({"tokens": ["a"]})])], [{"tokens": ["a"]}])


def _part(row: Row) -> Prediction:
    return Prediction(None, None, {"row": row, "words": [], "shares": np.zeros((0, 5))})


def test_tags_that_were_mended_are_reported() -> None:
    table = table_of(*tagged([("a b c", "O I-LOC O"), ("a b", "B-PER O")]))
    (finding,) = [one for one in NER.check({"train": table}, {}).warnings if one.name == "entity_without_beginning"]
    assert (finding.count, finding.examples[0]["value"]) == (1, "a b c")


def test_types_that_train_lacks_are_found() -> None:
    train_table = table_of(*tagged([("a b", "B-LOC O")] * 30))
    report = NER.check({"train": train_table, "test": table_of(*tagged([("b a", "B-LOC B-PER")]))}, {})
    assert {"label_not_learnt"} <= {one.name for one in report.warnings}


def test_plain_tags_collapse_to_one() -> None:
    task = TokenClassification(scheme="none", labels=("NN", "VB"))
    same = [Prediction([{"label": "NN", "start": 0, "end": n}]) for n in (1, 2)]
    assert task.is_collapsed(same)
    assert not task.is_collapsed([*same, Prediction([{"label": "VB", "start": 0, "end": 1}])])


def test_features_hold_plain_numbers(tokenizer: Any) -> None:
    (features,) = NER.encode({"text": "in Oslo"}, tokenizer, Limits())
    assert isinstance(features, Features)
    assert json.dumps([features.inputs, features.extra, features.targets])
