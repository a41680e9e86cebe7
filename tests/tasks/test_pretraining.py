from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headway.data.table import Table
from headway.errors import DataError, RecipeError
from headway.inference import Inference
from headway.models.backbone import Backbone, load_backbone
from headway.models.losses import CrossEntropy
from headway.models.options import ModelOptions
from headway.recipe import Recipe
from headway.tasks.base import Limits
from headway.tasks.pretraining import Pretraining
from headway.tokenising import encode_table
from headway.types import Features, Prediction, Row

TEXTS = [
    "a great film", "the food was awful and the room very small", "lovely music", "dull book", "happy people in garden",
    "a sad song for the old man", "bright and fine", "no plot and poor actors",
]  # fmt: skip
PAIRS = [
    {"text": text, "text_pair": TEXTS[(number + 1 + number % 2 * 3) % 8], "label": str(number % 2)}
    for number, text in enumerate(TEXTS)
]

CASES: dict[str, tuple[dict[str, Any], list[Row]]] = {
    "masked": ({}, [{"text": text} for text in TEXTS]),
    "whole words, always the mask": (
        {"whole_word": True, "masking": "always", "mlm_probability": 0.4},
        [{"text": text} for text in TEXTS],
    ),
    "next sentences": ({"next_sentence": True, "whole_word": True}, [dict(pair) for pair in PAIRS]),
}


@pytest.fixture(scope="module")
def backbone(tiny_bert: Path) -> Backbone:
    return load_backbone(ModelOptions(model_name_or_path=str(tiny_bert), dropout=0.0))


def refreshed(task: Pretraining, backbone: Backbone, text: str, *numbers: int) -> Features:
    (features,) = task.encode({"text": text}, backbone.tokenizer, Limits(max_length=64))
    return task.refresh(features, backbone.tokenizer, np.random.default_rng(list(numbers)))


def inference(task: Pretraining, backbone: Backbone, max_length: int = 32) -> Inference:
    torch.manual_seed(0)
    return Inference(task, task.build_model(backbone), backbone.tokenizer, Limits(max_length=max_length), 3)


def test_masks_are_fresh_each_epoch_and_equal_for_equal_draws(backbone: Backbone) -> None:
    task, text = Pretraining(), "the food was awful and the room very small " * 4
    seen = [refreshed(task, backbone, text, 0, epoch, 7) for epoch in range(5)]
    assert len({tuple(one.extra["positions"]) for one in seen}) == 5
    assert refreshed(task, backbone, text, 0, 3, 7) == seen[3]


def test_targets_are_what_stood_there_and_special_tokens_are_never_hidden(backbone: Backbone) -> None:
    task = Pretraining(mlm_probability=0.5)
    text = "the food was awful\n\nthe room [UNK] very [PAD] small"
    (plain,) = task.encode({"text": text}, backbone.tokenizer, Limits(max_length=64))
    special = set(backbone.tokenizer.all_special_ids)
    ids = plain.inputs["input_ids"]
    assert sum(one in special for one in ids) == 5  # one separator between, and the two that were written out
    for epoch in range(50):
        seen = refreshed(task, backbone, text, epoch)
        assert [ids[position] for position in seen.extra["positions"]] == seen.targets["labels"]
        assert not special & set(seen.targets["labels"])
        changed = [place for place, one in enumerate(ids) if seen.inputs["input_ids"][place] != one]
        assert set(changed) <= set(seen.extra["positions"])


def test_the_loss_is_the_mean_over_hidden_tokens_plus_that_of_the_pairs(backbone: Backbone) -> None:
    task = Pretraining(next_sentence=True)
    model = task.build_model(backbone)
    features = list(encode_table(Table.from_rows([dict(one) for one in PAIRS]), task, backbone.tokenizer, Limits()))
    batch = task.collate(
        [task.refresh(one, backbone.tokenizer, np.random.default_rng(one.row)) for one in features], backbone.tokenizer
    )
    with torch.no_grad():
        outputs = task.forward(model, batch)
        whole = model(**batch.inputs)
    nll, number = 0.0, 0
    for row, one in enumerate(batch.features):
        for position, label in zip(one.extra["positions"], one.targets["labels"], strict=True):
            nll -= float(whole.prediction_logits[row, position].log_softmax(-1)[label])
            number += 1
    pairs = torch.nn.functional.cross_entropy(
        whole.seq_relationship_logits, torch.tensor([int(one["label"]) for one in PAIRS])
    )
    loss = task.loss(outputs, batch, CrossEntropy())
    assert float(loss) == pytest.approx(nll / number + float(pairs), abs=1e-4)


def test_a_batch_without_a_token_to_guess_has_a_loss_of_nothing(backbone: Backbone) -> None:
    task = Pretraining()
    model = task.build_model(backbone)
    batch = task.collate([refreshed(task, backbone, "", 0), refreshed(task, backbone, " ", 0)], backbone.tokenizer)
    loss = task.loss(task.forward(model, batch), batch, CrossEntropy())
    loss.backward()
    assert loss.item() == 0.0


def test_the_new_head_is_tied_to_the_word_embeddings_and_both_learn(backbone: Backbone) -> None:
    task = Pretraining()
    model: Any = task.build_model(backbone)
    embeddings = model.get_input_embeddings().weight
    assert model.get_output_embeddings().weight is embeddings
    before = embeddings.detach().clone()
    batch = task.collate([refreshed(task, backbone, text, 0) for text in TEXTS], backbone.tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        task.loss(task.forward(model, batch), batch, CrossEntropy()).backward()
        optimizer.step()
    assert not torch.equal(model.get_output_embeddings().weight, before)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_a_mask_in_the_text_is_filled_in(backbone: Backbone) -> None:
    task = Pretraining()
    ready = inference(task, backbone)
    (one,) = ready.stream([{"text": "a [MASK] film in the [MASK] garden"}])
    assert len(one.value) == 2
    first, second = one.detail["masks"]
    assert [len(first), len(second)] == [5, 5]
    assert one.value == [first[0]["token"], second[0]["token"]]
    assert one.score == min(first[0]["probability"], second[0]["probability"])
    inputs = backbone.tokenizer("a [MASK] film in the [MASK] garden", return_tensors="pt")
    with torch.no_grad():
        shares = ready.model(**inputs).logits[0, 2].softmax(-1).topk(5)
    assert [found["probability"] for found in first] == pytest.approx(shares.values.tolist(), abs=1e-5)
    (alone,) = ready.stream([{"text": "a [MASK] film"}])
    assert list(alone.detail["probabilities"].values())[-1] == alone.score


def test_masks_of_a_long_text_are_found_in_all_its_blocks(backbone: Backbone) -> None:
    (one,) = inference(Pretraining(), backbone, 16).stream([{"text": "a film " * 20 + "[MASK] " + "a book " * 20}])
    assert len(one.value) == 1
    assert "guesses" not in one.detail


def test_a_text_without_masks_has_a_perplexity(backbone: Backbone) -> None:
    (one,) = inference(Pretraining(), backbone, 16).stream([{"text": "the food was awful " * 20}])
    guesses = one.detail["guesses"]
    assert len(guesses) > 5
    assert one.value == pytest.approx(math.exp(sum(guess["nll"] for guess in guesses) / len(guesses)))
    assert one.score == pytest.approx(1 / one.value)
    (empty,) = inference(Pretraining(), backbone).stream([{"text": ""}])
    assert (empty.value, empty.score) == (None, None)


def said(nll: float, hits: int, count: int) -> Prediction:
    return Prediction(1.0, 1.0, {"guesses": [
        {"token": "a", "predicted": "a" if number < hits else "b", "nll": nll} for number in range(count)
    ]})  # fmt: skip


def test_perplexity_weighs_tokens_alike_and_not_rows() -> None:
    scores = Pretraining().evaluate([said(1.0, 1, 1), said(3.0, 0, 3), said(0.0, 0, 0)], [{"text": "x"}] * 3)
    assert scores == {"perplexity": pytest.approx(math.exp(10 / 4)), "mlm_accuracy": 0.25}


def test_a_perplexity_beyond_reason_stays_a_number() -> None:
    scores = Pretraining().evaluate([said(1e6, 0, 3)] * 2, [{"text": "x"}] * 2)
    assert 1e20 < scores["perplexity"] < 1e30
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert np.isfinite(np.std([scores["perplexity"], 1.0]) ** 2)


def test_pairs_are_scored_where_they_are_labelled() -> None:
    predictions = [Prediction(1.0, 1.0, {"is_next": share, "guesses": []}) for share in (0.9, 0.2, 0.7, 0.6)]
    rows: list[Row] = [{"text": "a", "text_pair": "b", "label": label} for label in ("0", "1", "1")]
    scores = Pretraining(next_sentence=True).evaluate(predictions, [*rows, {"text": "a", "text_pair": "b"}])
    assert scores == {"nsp_accuracy": pytest.approx(2 / 3)}


def test_the_unigram_model_knows_the_shares_of_the_training_tokens(backbone: Backbone) -> None:
    task, tokenizer = Pretraining(), backbone.tokenizer
    train = list(encode_table(Table.from_rows([{"text": "film film film book"}]), task, tokenizer, Limits()))
    ids = tokenizer.convert_tokens_to_ids(["film", "book", "garden"])
    asked = Features({"input_ids": ids}, {"labels": ids}, {"positions": [0, 1, 2]}, row=0)
    (one,) = task.feature_baselines(train, [asked], tokenizer)["unigram"]
    size = len(tokenizer)
    expected = [-math.log((count + 1) / (4 + size)) for count in (3, 1, 0)]
    assert [guess["nll"] for guess in one.detail["guesses"]] == pytest.approx(expected)
    assert {guess["predicted"] for guess in one.detail["guesses"]} == {"film"}
    assert task.evaluate([one], [{"text": ""}])["mlm_accuracy"] == pytest.approx(1 / 3)


def test_given_pairs_need_their_labels(backbone: Backbone) -> None:
    task = Pretraining(next_sentence=True)
    with pytest.raises(DataError, match="no column 'label' that says whether it is the next"):
        task.prepare(Table.from_rows([{"text": "a", "text_pair": "b"}]), 0)
    given = Table.from_rows([dict(one) for one in PAIRS])
    assert task.prepare(given, 0) is given
    with pytest.raises(DataError, match=r"row 1: column 'label' holds 'yes', expected 0"):
        list(encode_table(Table.from_rows([{**PAIRS[0], "label": "yes"}]), task, backbone.tokenizer, Limits()))


def test_tokens_that_a_pair_loses_are_counted(backbone: Backbone) -> None:
    task = Pretraining(next_sentence=True)
    row = {"text": "a film " * 10, "text_pair": "the book " * 3, "label": "1"}
    (features,) = task.encode(row, backbone.tokenizer, Limits(max_length=20))
    assert features.length == 20
    assert features.extra["tokens_lost"] == 26 + 3 - 20


def test_a_family_without_the_second_head_is_refused(tiny_roberta: Path) -> None:
    roberta = load_backbone(ModelOptions(model_name_or_path=str(tiny_roberta)))
    with pytest.raises(RecipeError, match="roberta models have no head for it"):
        Pretraining(next_sentence=True).build_model(roberta)
    roberta.tokenizer.mask_token = None
    with pytest.raises(RecipeError, match="has no mask token"):
        Pretraining().build_model(roberta)


def test_a_length_without_room_for_a_token_is_refused(backbone: Backbone) -> None:
    with pytest.raises(RecipeError, match=r"data\.max_length is 2"):
        Pretraining().encode({"text": "a"}, backbone.tokenizer, Limits(max_length=2))


def test_the_details_are_plain_and_name_the_worst(backbone: Backbone) -> None:
    predictions = [said(1.0, 1, 4), said(5.0, 0, 0)]
    worst, frequency = Pretraining().details(predictions, [{"text": "x"}] * 2)["tables"]
    assert worst["rows"] == [["a", 4, 1.0, 0.25, "b"]]
    assert frequency["rows"] == [["2 to 4", 1, 4, 0.25, 2.72]]
    assert json.dumps([dataclasses.asdict(one) for one in predictions], allow_nan=False)


def test_recipes_refuse_what_cannot_be() -> None:
    for options in ({"mlm_probability": 0.0}, {"mlm_probability": 1.0}, {"masking": "never"}, {"join_documents": -1}):
        with pytest.raises(RecipeError, match="task"):
            Recipe.from_dict({"task": {"type": "pretraining", **options}, "data": {"train": "a.txt"}})
