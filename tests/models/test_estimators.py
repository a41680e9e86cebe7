from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headway.errors import ModelError, RecipeError
from headway.importing import Choice
from headway.models.estimators import EstimatorHead, is_estimator

RNG = np.random.default_rng(0)
CENTRES = np.eye(3, 6, dtype=np.float32) * 4
CLASSES = np.arange(60) % 3
VECTORS = (CENTRES[CLASSES] + RNG.normal(size=(60, 6))).astype(np.float32)


def head(name: str, *, num_labels: int = 3, **options: Any) -> EstimatorHead:
    return EstimatorHead(Choice(name=name, options=options), num_labels=num_labels)


@pytest.mark.parametrize("name", ["svm", "logistic_regression", "sklearn.ensemble.RandomForestClassifier"])
def test_classes_are_learnt_and_come_back_from_the_file(name: str, tmp_path: Path) -> None:
    made = head(name)
    assert made(torch.from_numpy(VECTORS)).tolist() == [[0.0] * 3] * 60
    made.fit(VECTORS, CLASSES, seed=0)
    logits = made(torch.from_numpy(VECTORS))
    assert logits.dtype == torch.float32
    assert (logits.argmax(-1).numpy() == CLASSES).mean() > 0.9
    made.write(tmp_path / "head.skops")
    again = head(name)
    again.read(tmp_path / "head.skops")
    assert torch.equal(again(torch.from_numpy(VECTORS)), logits)


def test_probabilities_are_the_softmax_of_the_logits() -> None:
    made = head("logistic_regression")
    made.fit(VECTORS, CLASSES, seed=0)
    shares = made(torch.from_numpy(VECTORS)).softmax(-1).numpy()
    np.testing.assert_allclose(shares, made._estimator.predict_proba(VECTORS), atol=1e-6)


def test_two_classes_of_an_svm_and_a_label_without_rows() -> None:
    made = head("svm", num_labels=4)
    made.fit(VECTORS, np.where(CLASSES == 0, 1, 3), seed=0)
    logits = made(torch.from_numpy(VECTORS))
    assert logits.shape == (60, 4)
    assert set(logits.argmax(-1).tolist()) == {1, 3}
    assert ((logits.argmax(-1) == 1).numpy() == (CLASSES == 0)).mean() > 0.9


@pytest.mark.parametrize("name", ["svm", "logistic_regression"])
def test_several_labels(name: str, tmp_path: Path) -> None:
    targets = np.stack([CLASSES == 0, CLASSES != 2], axis=1).astype(np.float32)
    made = head(name, num_labels=2)
    made.fit(VECTORS, targets, seed=0)
    found = made(torch.from_numpy(VECTORS)).sigmoid().numpy() > 0.5
    assert (found == targets).mean() > 0.9
    made.write(tmp_path / "head.skops")
    again = head(name, num_labels=2)
    again.read(tmp_path / "head.skops")
    assert torch.equal(again(torch.from_numpy(VECTORS)), made(torch.from_numpy(VECTORS)))


def test_numbers() -> None:
    made = head("sklearn.linear_model.Ridge", num_labels=1, alpha=0.1)
    values = VECTORS[:, 0] * 2 - 1
    made.fit(VECTORS, values, seed=0)
    np.testing.assert_allclose(made(torch.from_numpy(VECTORS))[:, 0].numpy(), values, atol=0.05)


def test_the_seed_decides_what_is_drawn_unless_the_recipe_does() -> None:
    def predicted(seed: int, **options: Any) -> list[Any]:
        made = head("sklearn.ensemble.RandomForestClassifier", n_estimators=5, **options)
        made.fit(VECTORS, CLASSES, seed=seed)
        return made(torch.from_numpy(VECTORS + 1)).tolist()

    assert predicted(1) == predicted(1)
    assert predicted(1) != predicted(2)
    assert predicted(1, random_state=3) == predicted(2, random_state=3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("svm", {"c": 1.0}, "does not take 'c'.*Did you mean 'C'"),
        ("sklearn.svm.LinearSVX", {}, "has no class 'LinearSVX'"),
        ("sklearn.pipeline.Bunch", {}, "no estimator of scikit-learn"),
        (
            "sklearn.multiclass.OneVsRestClassifier",
            {},
            r"^model\.head: 'sklearn\.multiclass\.OneVsRestClassifier' cannot be constructed: .*argument: 'estimator'",
        ),
    ],
)
def test_a_wrong_estimator_is_explained(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        head(name, **options)


@pytest.mark.parametrize(
    ("name", "targets", "message"),
    [
        ("svm", VECTORS[:, 0], "predicts classes, but the labels are numbers.*LinearSVR"),
        ("sklearn.svm.LinearSVR", CLASSES, "predicts numbers, but the labels are classes"),
        ("svm", np.zeros(60, dtype=np.int64), "LinearSVC cannot be fitted: This solver needs samples of at least 2"),
    ],
)
def test_labels_that_do_not_suit_are_explained(name: str, targets: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        head(name).fit(VECTORS, targets, seed=0)


def test_only_scikit_learns_own_types_are_read(tmp_path: Path) -> None:
    import skops.io

    skops.io.dump({"head": Path("/tmp")}, tmp_path / "head.skops")
    with pytest.raises(ModelError, match="not scikit-learn's own"):
        head("svm").read(tmp_path / "head.skops")
    (tmp_path / "head.skops").write_bytes(b"PK nothing")
    with pytest.raises(ModelError, match="damaged"):
        head("svm").read(tmp_path / "head.skops")
    other = head("logistic_regression")
    other.fit(VECTORS, CLASSES, seed=0)
    other.write(tmp_path / "head.skops")
    with pytest.raises(ModelError, match=r"holds a LogisticRegression, but headway\.json names LinearSVC"):
        head("svm").read(tmp_path / "head.skops")


def test_what_counts_as_an_estimator() -> None:
    assert is_estimator("svm")
    assert is_estimator("sklearn.svm.SVC")
    assert not is_estimator("linear")
    assert not is_estimator("my_sklearn.Head")
