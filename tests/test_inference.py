from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headway.data.table import Table
from headway.errors import DataError, StoppedError
from headway.inference import ROWS_AT_ONCE, ROWS_PER_CHUNK, Exact, Inference, LossMean
from headway.models.losses import CrossEntropy
from headway.predictor import Predictor
from headway.tasks.base import Limits
from headway.tasks.text_classification import TextClassification
from headway.tokenising import encode_table
from headway.types import Features, Prediction, Row


class Windows(TextClassification):
    """A task whose rows give as many inputs as their text has words; the answer names them in their order."""

    def encode(self, row: Row, tokenizer: Any, limits: Limits) -> list[Features]:
        words = [
            super(Windows, self).encode({**row, "text": word}, tokenizer, limits)[0] for word in row["text"].split()
        ]
        return [Features(one.inputs, one.targets, {"word": n}) for n, one in enumerate(words)]

    def decode(self, outputs: Any, batch: Any, rows: Any, tokenizer: Any) -> list[Prediction]:
        return [
            Prediction(f"{row['text'].split()[one.extra['word']]}/{len(one.inputs['input_ids'])}")
            for one, row in zip(batch.features, rows, strict=True)
        ]

    def merge(self, parts: Any) -> Prediction:
        return Prediction(" ".join(part.value for part in parts))


@pytest.fixture(scope="module")
def inference(finished_run: Path) -> Inference:
    return Predictor.load(finished_run, device="cpu").inference


def with_task(inference: Inference, task: TextClassification, batch_size: int = 3) -> Inference:
    return Inference(task, inference.model, inference.tokenizer, inference.limits, batch_size)


def rows(num_rows: int) -> list[Row]:
    words = ["good", "bad", "film", "book", "very", "slow", "happy", "sad"]
    draw = np.random.default_rng(0)
    return [{"text": " ".join(draw.choice(words, draw.integers(1, 9)))} for _ in range(num_rows)]


def test_predictions_come_in_the_order_of_the_rows_whatever_the_batch_size(inference: Inference) -> None:
    asked = rows(60)
    expected = [next(inference.stream([row])) for row in asked]
    for batch_size in (1, 4, 64):
        found = list(with_task(inference, inference.task, batch_size).stream(asked))
        assert [one.value for one in found] == [one.value for one in expected]
        for one, other in zip(found, expected, strict=True):
            assert one.detail["probabilities"] == pytest.approx(other.detail["probabilities"], abs=1e-5)


def test_windows_of_a_row_are_merged_in_the_order_of_its_text(inference: Inference) -> None:
    task = Windows(labels=("bad", "good"))
    asked = [{"text": "goods an filmed"}, {"text": "good"}, {"text": "a zzzz books very"}]
    found = [one.value for one in with_task(inference, task).stream(asked)]
    assert found == ["goods/4 an/3 filmed/4", "good/3", "a/3 zzzz/6 books/4 very/3"]


def test_a_stream_holds_a_bounded_number_of_rows(inference: Inference, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.inference.ROWS_PER_CHUNK", 4)
    asked = 0

    def endless() -> Iterator[Row]:
        nonlocal asked
        while True:
            asked += 1
            yield {"text": "good"}

    stream = inference.stream(endless())
    for _ in range(6):
        next(stream)
    assert asked == 8
    assert ROWS_PER_CHUNK > 1000


def test_short_rows_share_larger_batches_than_long_ones(inference: Inference) -> None:
    sizes = []
    hook = inference.model.register_forward_pre_hook(
        lambda model, _, given: sizes.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    list(with_task(inference, inference.task, 1).stream([{"text": "good " * n} for n in (2, 14, 6, 6, 2, 6, 14)]))
    hook.remove()
    assert sizes == [(2, 16), (4, 8), (1, 4)]


def test_no_rows_give_no_predictions(inference: Inference) -> None:
    assert list(inference.stream([])) == []
    assert inference.predict([], []) == []


def test_the_model_is_in_evaluation_mode_and_then_as_it_was(inference: Inference) -> None:
    seen = []
    hook = inference.model.register_forward_pre_hook(lambda model, _: seen.append(model.training))
    inference.model.train()
    list(inference.stream(rows(2)))
    assert seen == [False]
    assert inference.model.training
    inference.model.eval()
    # A part may have been put in after the whole was set.
    part = inference.model.get_submodule("classifier").train()
    beneath = part.register_forward_pre_hook(lambda module, _: seen.append(module.training))
    list(inference.stream(rows(2)))
    assert seen == [False, False, False]
    assert not inference.model.training
    hook.remove()
    beneath.remove()


def test_the_mean_loss_is_that_of_all_rows(inference: Inference) -> None:
    asked = [{**row, "label": ("bad", "good")[n % 2]} for n, row in enumerate(rows(11))]
    features = list(inference.encode(asked))
    means = []
    for batch_size in (1, 4, 64):
        mean = LossMean(CrossEntropy())
        with_task(inference, inference.task, batch_size).predict(features, asked, loss=mean)
        means.append(mean.value)
    predicted = list(inference.stream(asked))
    expected = -np.mean([
        np.log(one.detail["probabilities"][row["label"]]) for one, row in zip(predicted, asked, strict=True)
    ])  # fmt: skip
    assert means == pytest.approx([expected] * 3, abs=1e-5)


def test_there_is_no_mean_loss_without_gold(inference: Inference) -> None:
    mean = LossMean(CrossEntropy())
    inference.predict(list(inference.encode(rows(3))), rows(3), loss=mean)
    assert mean.value is None


def test_a_stop_is_looked_for_before_every_batch(inference: Inference) -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise StoppedError("Stopped.", exit_code=75)

    stoppable = Inference(
        inference.task, inference.model, inference.tokenizer, inference.limits, batch_size=1, stop_check=check
    )
    with pytest.raises(StoppedError):
        list(stoppable.stream(rows(10)))
    calls = 0
    with pytest.raises(StoppedError):
        list(encode_table(Table.from_rows(rows(10)), inference.task, inference.tokenizer, inference.limits, check))


def test_features_know_their_row(inference: Inference) -> None:
    task = Windows(labels=("bad", "good"))
    table = Table.from_rows([{"text": "a b"}, {"text": "c"}])
    features = list(encode_table(table, task, inference.tokenizer, inference.limits))
    assert [one.row for one in features] == [0, 0, 1]


def test_all_rows_that_do_not_fit_are_named_up_to_twenty(inference: Inference) -> None:
    asked = [{"text": "good", "label": "good" if n % 2 else f"odd{n}"} for n in range(50)]
    table = Table.from_rows(asked, name="reviews.csv")
    with pytest.raises(DataError) as refused:
        list(encode_table(table, inference.task, inference.tokenizer, inference.limits))
    lines = str(refused.value).splitlines()
    assert lines[0] == "25 of 50 rows do not fit the task:"
    assert lines[1].startswith("  reviews.csv, row 1: column 'label' holds 'odd0', which is not among the labels")
    assert len(lines) == 22
    assert lines[-1] == "  ... and 5 more"


def test_nothing_is_computed_for_a_gradient(inference: Inference) -> None:
    list(inference.stream(rows(2)))
    assert all(parameter.grad is None for parameter in inference.model.parameters())
    assert torch.is_grad_enabled()


def test_the_task_finishes_a_split_as_a_whole_and_a_stream_in_parts(inference: Inference) -> None:
    class Counting(TextClassification):
        def finish(self, predictions: Any, rows: Any, *, is_split: bool) -> list[Prediction]:
            return [Prediction((len(rows), is_split)) for _ in predictions]

    asked = with_task(inference, Counting(labels=("bad", "good")))
    assert {one.value for one in asked.predict(list(asked.encode(rows(9))), rows(9))} == {(9, True)}
    assert {one.value for one in asked.stream(rows(9))} == {(9, False)}


class Leads(torch.nn.Module):
    """Logits whose difference is spread evenly from -3 to 3 over texts, but for noise that differs among them."""

    def __init__(self, noise: float) -> None:
        super().__init__()
        self.noise, self.num_rows = noise, 0
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, input_ids: torch.Tensor, **other: torch.Tensor) -> dict[str, torch.Tensor]:
        self.num_rows += len(input_ids)
        number = (input_ids * torch.arange(1, input_ids.shape[1] + 1)).sum(1) * 7919
        logit = (number % 1009) / 1009 * 6 - 3 + self.noise * (number % 101 / 50 - 1)
        return {"logits": torch.stack([logit, torch.zeros_like(logit)], dim=1)}


@pytest.mark.parametrize(
    ("noise", "rows_per_chunk"),
    # Where rows come one by one, more noise than is usual shows only when a row is asked about again.
    [*((noise, number) for noise in (0.0, 0.001, 0.01, 0.1) for number in (1, 100, 600)), (0.5, 600)],
)
def test_rounding_chooses_no_label_and_few_rows_are_computed_twice(
    noise: float, rows_per_chunk: int, inference: Inference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headway.inference.ROWS_PER_CHUNK", rows_per_chunk)
    asked = [{"text": f"a good book {number}"} for number in range(600)]
    low, high = Leads(noise), Leads(0.0)

    def with_model(model: torch.nn.Module, exact: Exact | None = None) -> list[Prediction]:
        one = Inference(inference.task, model, inference.tokenizer, inference.limits, 64, exact=exact)
        return list(one.stream(asked))

    rounded, expected = with_model(low), with_model(high)
    high.num_rows = 0
    found = with_model(low, Exact(lambda: high))
    assert [one.value for one in found] == [one.value for one in expected]
    # Rows that were computed twice have the numbers of float32, all others those of bfloat16.
    changed = [row for row, one in enumerate(found) if one != rounded[row]]
    assert all(found[row] == expected[row] for row in changed)
    # Leads of up to twice the noise are close, about 2 noise / 3 of them all.
    assert high.num_rows <= ROWS_AT_ONCE + 600 * (2 * noise / 3 + 0.02)
    if noise == 0.5:
        assert [one.value for one in rounded] != [one.value for one in expected]


def test_what_rounding_moves_is_remembered_from_chunk_to_chunk(inference: Inference) -> None:
    exact = Exact(lambda: Leads(0.0))
    one = Inference(inference.task, Leads(0.5), inference.tokenizer, inference.limits, 64, exact=exact)
    list(one.stream({"text": f"a good book {number}"} for number in range(300)))
    # A logit moved by 0.5 moves the probabilities of two even labels by an eighth each.
    assert 0.15 < exact.moved < 0.26
    assert exact.margin == 2 * exact.moved


def test_a_stream_says_what_it_did_not_read(inference: Inference, caplog: pytest.LogCaptureFixture) -> None:
    asked = [{"text": "a good book"}, {"text": "good " * 100}, {"text": "  "}, {"text": "bad " * 70}]
    with caplog.at_level("WARNING", logger="headway"):
        list(inference.stream(asked[:1]))
        assert not caplog.messages
        list(inference.stream(asked))
    max_length = inference.limits.max_length
    lost = 100 + 70 + 4 - 2 * max_length  # two special tokens a text
    assert caplog.messages == [
        f"Rows longer than the {max_length} tokens that the model reads at once: 2 of 4. It did not see {lost} of "
        "their tokens.",
        "Rows with an empty or blank text, answered all the same: 1 of 4.",
    ]
