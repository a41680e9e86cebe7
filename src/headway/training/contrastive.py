"""Pairs out of labelled texts, for the contrastive stage before the training itself (`training.contrastive`).

Tunstall et al. 2022, "Efficient Few-Shot Learning Without Prompts" (SetFit), arXiv:2209.11055: of n texts there are
about n times n pairs, so few texts are enough to teach a backbone which of them belong together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from headway.data.table import Table
from headway.errors import DataError, RecipeError
from headway.models.options import ModelOptions
from headway.tasks.base import Task
from headway.tasks.text_classification import TextClassification
from headway.training.options import Contrastive
from headway.types import Row


def check_contrastive(options: Contrastive | None, model: ModelOptions, task: Task, train: Table) -> None:
    """Complain where no pairs can be drawn, or the stage would go against another option.

    Args:
        options: the recipe's `training.contrastive`.
        model: the recipe's `model`.
        task: with what it learnt from the training rows.
        train: the training rows.

    Raises:
        RecipeError: the task gives texts no single label, texts come in pairs, or there is an adapter.
        DataError: no label has two different texts.
    """
    if options is None:
        return
    if not isinstance(task, TextClassification) or task.problem_type != "single_label_classification":
        kind = task.problem_type if isinstance(task, TextClassification) else task.name
        raise RecipeError(
            f"training.contrastive: pairs are drawn from texts of one and the same label, and {kind} has no single "
            "label for each text. Leave it out."
        )
    if "text_pair" in train.column_names:
        raise RecipeError(
            "training.contrastive: it learns from single texts, and these rows are pairs ('text_pair'). Leave it out."
        )
    if model.adapter is not None:
        raise RecipeError(
            "model.adapter leaves all pretrained weights as they are, and training.contrastive changes them. Leave one "
            "of the two out."
        )
    texts, labels = train.column("text"), list(map(str, train.column("label")))
    if len(set(zip(labels, texts, strict=True))) == len(set(labels)):
        raise DataError(
            f"{train.name}: no label has two different texts, so training.contrastive finds no pair to learn from. Add "
            "rows, or leave the option out."
        )


def labelled_pairs(train: Table, *, pairs_per_row: int, seed: int) -> Iterator[Row]:
    """Return rows of ``query``, ``positive`` and ``group``: each text beside others of its label, which is the group.

    The others of a row are drawn by (seed, row), and come again only when all of them have come. A text without others
    is its own positive: dropout sees it in two ways (Gao et al. 2021, SimCSE, arXiv:2104.08821), and for the texts of
    other labels it is a wrong answer like any other.

    Args:
        train: rows of ``text`` and ``label``.
        pairs_per_row: how many pairs each row gives.
        seed: of the run.
    """
    texts, labels = train.column("text"), list(map(str, train.column("label")))
    places: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for text, label in zip(texts, labels, strict=True):
        places[label].setdefault(text, len(places[label]))
    members = {label: list(held) for label, held in places.items()}
    for row, (text, label) in enumerate(zip(texts, labels, strict=True)):
        some, own = members[label], places[label][text]
        num_others = len(some) - 1
        rng = np.random.default_rng([seed, row])
        drawn = rng.choice(num_others, size=min(pairs_per_row, num_others), replace=False) if num_others else [own]
        for place in np.resize(drawn, pairs_per_row).tolist():
            # Of n members n - 1 can be drawn; the last stands in for the text itself.
            other = some[-1] if num_others and place == own else some[place]
            yield {"query": text, "positive": other, "group": label}
