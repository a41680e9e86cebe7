"""scikit-learn estimators as heads: an SVM, a logistic regression or any other over the vectors of a frozen backbone.

They are fitted in one go instead of in steps (`headway.training.estimators`), and saved through skops, which holds no
code: what a file may contain is scikit-learn's own types and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headway.errors import ModelError, RecipeError
from headway.importing import Choice, load_class

KNOWN = {"svm": "sklearn.svm.LinearSVC", "logistic_regression": "sklearn.linear_model.LogisticRegression"}
"""Short name -> import path; any other estimator is named by its own (``sklearn.svm.SVC``)."""

KINDS = ("sequence-classification", "token-classification")
"""Kinds of model whose rows of vectors each have a label of their own."""

_LEAST = 1e-12
"""The probability that stands for none, for its logarithm is a number."""


def is_estimator(name: str) -> bool:
    """Return whether a head of this name is one of scikit-learn's."""
    return KNOWN.get(name, name).startswith("sklearn.")


class EstimatorHead(nn.Module):
    """An estimator behind the interface of a head: vectors (rows, hidden) to logits (rows, labels).

    Of an estimator with probabilities, the softmax (or, for several labels, the sigmoid) of the logits gives these
    probabilities. Of one without (an SVM), the logits are its decision values, and what is made of them orders rows
    well but is no calibrated probability. Before it is fitted, all logits are 0.
    """

    def __init__(self, choice: Choice, *, num_labels: int) -> None:
        """Construct the estimator, unfitted.

        Raises:
            RecipeError: there is no such estimator, or it does not take an option, or lacks one.
        """
        super().__init__()
        self.num_labels = num_labels
        self._estimator = _construct(choice)
        self._is_fitted = False

    def fit(self, vectors: NDArray[np.float32], targets: NDArray[Any], *, seed: int) -> None:
        """Fit the estimator.

        Args:
            vectors: (rows, hidden).
            targets: (rows,) class numbers or, if they are not whole numbers, values; or (rows, labels) of 0 and 1.
            seed: of its random numbers, where it draws any.

        Raises:
            RecipeError: it does not fit these rows, or cannot be saved.
        """
        from sklearn.base import is_regressor

        name = type(self._estimator).__name__
        has_seed = "random_state" in self._estimator.get_params()
        if has_seed and self._estimator.get_params()["random_state"] is None:
            self._estimator.set_params(random_state=seed)
        is_number = targets.ndim == 1 and not np.issubdtype(targets.dtype, np.integer)
        predicts_numbers = is_regressor(self._estimator)
        if is_number != predicts_numbers:
            raise RecipeError(
                f"model.head: {name} predicts {'numbers' if predicts_numbers else 'classes'}, but the labels are "
                f"{'numbers' if is_number else 'classes'}. Choose "
                f"{'a regressor, such as sklearn.svm.LinearSVR' if is_number else 'a classifier, such as svm'}."
            )
        if targets.ndim == 2:
            from sklearn.multiclass import OneVsRestClassifier

            self._estimator = OneVsRestClassifier(self._estimator)
            targets = targets.astype(np.int64)
        try:
            self._estimator.fit(vectors, targets)
        except ValueError as error:
            raise RecipeError(f"model.head: {name} cannot be fitted: {error}") from error
        self._is_fitted = True

    def forward(self, vectors: Tensor) -> Tensor:
        """Return logits (rows, labels) in float32."""
        if not self._is_fitted:
            return torch.zeros(len(vectors), self.num_labels, device=vectors.device)
        values = self._logits(vectors.float().cpu().numpy())
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(vectors.device)

    def write(self, path: Path) -> None:
        """Write the fitted estimator."""
        import skops.io

        skops.io.dump(self._estimator, path)

    def read(self, path: Path) -> None:
        """Take over the estimator that `write` wrote.

        Raises:
            ModelError: the file is damaged, or holds anything but scikit-learn's own types.
        """
        import skops.io

        try:
            own = [name for name in skops.io.get_untrusted_types(file=path) if name.startswith("sklearn.")]
            estimator = skops.io.load(path, trusted=own)
        except skops.io.exceptions.UntrustedTypesFoundException as error:
            raise ModelError(
                f"{path} holds types that are not scikit-learn's own, and is not loaded: {error}"
            ) from error
        except Exception as error:
            # What a damaged archive raises depends on where the damage is.
            raise ModelError(f"{path} is damaged and cannot be read: {type(error).__name__}: {error}.") from error
        expected = type(self._estimator)
        # For several labels, `fit` put it into another one.
        if expected not in (type(estimator), type(getattr(estimator, "estimator", None))):
            raise ModelError(f"{path} holds a {type(estimator).__name__}, but headway.json names {expected.__name__}.")
        self._estimator, self._is_fitted = estimator, True

    def _logits(self, vectors: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        estimator = self._estimator
        is_one_vs_rest = type(estimator).__name__ == "OneVsRestClassifier"
        if hasattr(estimator, "predict_proba"):
            shares = np.clip(np.asarray(estimator.predict_proba(vectors), dtype=np.float64), _LEAST, 1 - _LEAST)
            return np.log(shares) - np.log1p(-shares) if is_one_vs_rest else self._all_classes(np.log(shares))
        if hasattr(estimator, "decision_function"):
            values = np.asarray(estimator.decision_function(vectors))
            if values.ndim == 1:  # of two classes, how far a row lies on the side of the second
                values = np.stack([np.zeros_like(values), values], axis=1)
            return values if is_one_vs_rest else self._all_classes(values)
        return np.asarray(estimator.predict(vectors)).reshape(len(vectors), -1)

    def _all_classes(self, values: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Return a column for every label; one that no training row has is as unlikely as can be."""
        every = np.full((len(values), self.num_labels), min(np.log(_LEAST), float(values.min(initial=0.0))))
        every[:, self._estimator.classes_.astype(np.int64)] = values
        return every


def _construct(choice: Choice) -> Any:
    from sklearn.base import BaseEstimator

    chosen = load_class(choice.name, known=KNOWN, option="model.head")
    if not (hasattr(chosen, "fit") and hasattr(chosen, "predict") and hasattr(chosen, "get_params")):
        raise RecipeError(f"model.head: {choice.name!r} is no estimator of scikit-learn.")
    return choice.create(BaseEstimator, known=KNOWN, option="model.head", given={})
