from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headway.errors import DataError, ModelError, RecipeError, RunError
from headway.models.precision import has_bfloat16
from headway.models.saving import load_model
from headway.predictor import Predictor


@pytest.fixture(scope="module")
def predictor(finished_run: Path) -> Predictor:
    return Predictor.load(finished_run)


@pytest.fixture
def model(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the model folder alone, to be changed at will."""
    return Path(shutil.copytree(finished_run / "model", tmp_path / "model"))


def change(model: Path, **changes: Any) -> None:
    about = json.loads((model / "headway.json").read_text())
    about = {name: value for name, value in {**about, **changes}.items() if value is not None}
    (model / "headway.json").write_text(json.dumps(about))


def test_one_text(predictor: Predictor) -> None:
    found = predictor.predict("the film was lovely")
    assert found.value == "good"
    assert list(found.detail["probabilities"]) == ["bad", "good"]
    assert found.score == found.detail["probabilities"]["good"] > 0.5
    assert sum(found.detail["probabilities"].values()) == pytest.approx(1)
    assert predictor.predict({"text": "the film was lovely"}) == found


def test_rows_beside_their_predictions(predictor: Predictor) -> None:
    asked: list[Any] = ["the film was lovely", {"text": "the book was dull", "text_pair": None}]
    pairs = list(predictor.pairs(asked))
    assert [row["text"] for row, _ in pairs] == ["the film was lovely", "the book was dull"]
    assert [one.value for _, one in pairs] == ["good", "bad"]


def test_the_model_folder_alone_predicts_the_same(predictor: Predictor, model: Path) -> None:
    assert Predictor.load(model).predict("the room was awful") == predictor.predict("the room was awful")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "A row needs 'text'; this one holds nothing."),
        ({"txt": "a"}, "A row needs 'text'; this one holds 'txt'."),
        ({"text": None}, "A row needs 'text'"),
        ({"text": "a", "colour": "red"}, "There is no column 'colour' in this task. It reads label, text, text_pair."),
        ({"text": 5}, "The column 'text' holds 5 (int), where a text is expected."),
        ({"text": "a", "text_pair": ["b"]}, "The column 'text_pair' holds ['b'] (list), where a text is expected."),
        ({"text": "a\ud800"}, "The column 'text' holds half of a surrogate pair"),
    ],
)
def test_a_row_that_cannot_be_predicted(predictor: Predictor, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as refused:
        predictor.predict(row)
    assert message in str(refused.value)


@pytest.mark.parametrize("text", ["", " ", "😀" * 500, "\0", "a\nb\r\nc", "﷽" * 100, "x" * 100_000])
def test_any_text_has_an_answer(predictor: Predictor, text: str) -> None:
    assert predictor.predict(text).value in ("bad", "good")


@pytest.mark.skipif(not has_bfloat16(torch.device("cpu")), reason="no bfloat16 here")
def test_bfloat16_moves_probabilities_a_little_and_no_answer(finished_run: Path, predictor: Predictor) -> None:
    low = Predictor.load(finished_run, bf16=True, device="cpu")
    assert {one.dtype for one in low.inference.model.parameters()} == {torch.bfloat16}
    assert {one.dtype for one in predictor.inference.model.parameters()} == {torch.float32}
    texts = ["the film was lovely", "the book was dull", "a great meal", "an awful room in a slow train"]
    for found, exact in zip(low.stream(texts), predictor.stream(texts), strict=True):
        assert found.value == exact.value
        assert found.score != exact.score
        assert found.score == pytest.approx(exact.score, abs=0.02)
        # Of bfloat16's own digits three are right; the softmax is that of float32.
        assert sum(found.detail["probabilities"].values()) == pytest.approx(1, abs=1e-6)


@pytest.mark.skipif(not has_bfloat16(torch.device("cpu")), reason="no bfloat16 here")
@pytest.mark.parametrize("batch_size", [1, 64])
def test_of_close_calls_float32_is_asked_again(
    batch_size: int, finished_run: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["the film was lovely", "a book", "a great meal", "an awful room in a slow train", "dull", "a good book"]
    exact = list(predictor.stream(texts))
    leads = [abs(one.detail["probabilities"]["good"] - one.detail["probabilities"]["bad"]) for one in exact]
    margin = float(np.median(leads))
    monkeypatch.setattr("headway.inference.UNKNOWN_MARGIN", margin)
    found = list(Predictor.load(finished_run, bf16=True, device="cpu", batch_size=batch_size).stream(texts))
    again = [one.score == pytest.approx(other.score, abs=1e-6) for one, other in zip(found, exact, strict=True)]
    assert again == [lead < margin for lead in leads]


def test_without_a_close_call_no_second_model_is_loaded(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.predictor.has_bfloat16", lambda device: True)
    loads = []
    monkeypatch.setattr("headway.predictor.load_model", lambda *a, **k: loads.append(a) or load_model(*a, **k))
    predictor = Predictor.load(finished_run, bf16=True, device="cpu")
    monkeypatch.setattr("headway.inference.UNKNOWN_MARGIN", 0.0)
    list(predictor.stream(["lovely", "dull"]))
    assert len(loads) == 1
    monkeypatch.setattr("headway.inference.UNKNOWN_MARGIN", 2.0)
    list(predictor.stream(["lovely", "dull"]))
    list(predictor.stream(["lovely", "dull"]))
    assert len(loads) == 2


def test_a_machine_without_bfloat16_says_so(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.predictor.has_bfloat16", lambda device: False)
    with pytest.raises(RecipeError, match="bf16: this machine has no bfloat16 instructions"):
        Predictor.load(finished_run, bf16=True)
    assert Predictor.load(finished_run).predict("lovely").value in {"good", "bad"}


def test_a_file_is_read_as_the_run_was(predictor: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("text\ngood book\nbad film\n")
    assert [row["text"] for row in predictor.read(str(path))] == ["good book", "bad film"]
    path.write_text("review;label\ngood book;good\n")
    table = predictor.read(str(path), {"delimiter": ";", "data.columns": {"text": "review"}}, need_gold=True)
    assert list(table) == [{"text": "good book", "label": "good"}]
    with pytest.raises(RecipeError, match="delimitr"):
        predictor.read(str(path), {"delimitr": ";"})


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"task": {"type": "my_tasks.Mine"}}, ModelError, "needs the task 'my_tasks.Mine', which is not part of"),
        ({"task": None}, ModelError, "is not what headway writes there"),
        ({"task": {"type": 5}}, ModelError, "is not what headway writes there"),
        ({"task": {"type": "text-classification", "labels": 5}}, ModelError, "is not what headway writes there"),
        ({"limits": {"max_length": "many"}}, ModelError, "is not what headway writes there"),
        ({"limits": []}, ModelError, "is not what headway writes there"),
        ({"labels": ["good", "bad"]}, ModelError, "name different labels, or in another order"),
        ({"head": {"name": "os.system"}}, ModelError, "is not what headway writes there"),
    ],
)
def test_a_description_that_cannot_be_used(
    model: Path, changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    change(model, **changes)
    with pytest.raises(kind) as refused:
        Predictor.load(model)
    assert message in str(refused.value)


def test_a_description_that_is_damaged_or_missing(model: Path) -> None:
    (model / "headway.json").write_text("[]")
    with pytest.raises(RunError, match="expected a JSON object"):
        Predictor.load(model)
    (model / "headway.json").unlink()
    with pytest.raises(RunError, match="is not a run directory"):
        Predictor.load(model)
    with pytest.raises(RunError, match="There is no run directory"):
        Predictor.load(model / "absent")
