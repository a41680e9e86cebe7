"""A trained model, ready to answer: from texts to predictions in three lines.

predictor = Predictor.load("runs/reviews")
print(predictor.predict("A quiet, lovely book."))
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn
from transformers import PreTrainedTokenizerBase

from headway.data.cells import check_row
from headway.data.options import DataOptions
from headway.data.table import Table
from headway.errors import ModelError, RecipeError
from headway.files import read_json
from headway.importing import find_user_code, load_class
from headway.inference import Exact, Inference
from headway.models.blocked import sort_weights
from headway.models.precision import has_bfloat16, to_bfloat16
from headway.models.saving import load_model
from headway.recipe import TASKS, answering_options, reading_options
from headway.run_dir import model_folder
from headway.tasks.base import Limits, Task
from headway.types import Prediction, Row

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Predictor:
    """A task with its model and tokenizer; `load` makes one from a run."""

    task: Task
    inference: Inference
    data: DataOptions
    """How the run's own data were read; a labelled file is read the same way."""
    left_out: tuple[str, ...] = field(default=(), kw_only=True)
    """The metrics of your own that the run names and that `load` was not allowed to import: the task lacks them."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the model."""
        return self.inference.tokenizer

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        allow_user_code: bool = False,
        batch_size: int = 64,
        bf16: bool = False,
        device: str | None = None,
        answering: Mapping[str, Any] | None = None,
    ) -> Predictor:
        """Return the predictor of a finished run, or of the `model` folder of one.

        Args:
            run: run directory; of a group of seeds, the seed with the best validation score is taken.
            allow_user_code: import the classes of your own (task, head, metrics) that the run names. Off, a folder
                from someone else can never run code.
            batch_size: rows of 32 tokens that the model sees at once; it never changes a result.
            bf16: compute in bfloat16, which is faster and moves probabilities in the third digit; where that may have
                chosen the label, the row is computed in float32 again.
            device: where to compute; empty takes CUDA where there is one.
            answering: options of the task that say how answers are made, where they differ from the run's
                (``{"task.generation.num_beams": 4}``); see `Task.answer_options`.

        Raises:
            RecipeError: bfloat16 is asked for and the device has none, or an option cannot be changed.
            RunError: there is no finished run.
            ModelError: the model folder is damaged, incomplete, or needs code that is not allowed.
        """
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if bf16 and not has_bfloat16(place):
            raise RecipeError("bf16: this machine has no bfloat16 instructions. Leave it out.")
        folder = model_folder(run)
        about = _description(folder / "headway.json")
        name = about["task"]["type"]
        if name not in TASKS and not allow_user_code:
            raise ModelError(
                f"{folder} needs the task {name!r}, which is not part of headway. If you trust that code, allow it "
                "with --allow_user_code (Python: allow_user_code=True)."
            )
        if allow_user_code:
            find_user_code(Path.cwd())
        task_class = load_class(name, known=TASKS, option="task.type", base=Task)
        try:
            task: Task = task_class.model_validate(about["task"])
            limits, data = Limits.model_validate(about["limits"]), DataOptions.model_validate(about["data"])
        except ValidationError as error:
            raise ModelError(f"{folder / 'headway.json'} is not what headway writes there: {error}") from error
        left_out = () if allow_user_code else tuple(one.name for one in task.metrics)
        if left_out:
            # No prediction needs them, so they are no reason to refuse the run.
            task = task.model_copy(update={"metrics": ()})
        task = answering_options(task, answering or {})

        def loaded(*, in_bfloat16: bool) -> tuple[nn.Module, PreTrainedTokenizerBase]:
            model, tokenizer = load_model(folder, about["kind"], allow_user_code=allow_user_code)
            model.to(place).eval()
            if in_bfloat16:
                to_bfloat16(model)
            if about.get("sorted_weights", True):
                sort_weights(model)
            return model, tokenizer

        model, tokenizer = loaded(in_bfloat16=bf16)
        # Loaded when the first answer asks for it.
        exact = Exact(functools.cache(lambda: loaded(in_bfloat16=False)[0])) if bf16 else None
        inference = Inference(task, model, tokenizer, limits, batch_size, exact=exact)
        return cls(task, inference, data, left_out=left_out)

    def predict(self, row: str | Row) -> Prediction:
        """Return the prediction of one row: a mapping with the task's columns, or the text where it reads one."""
        (prediction,) = self.stream([row])
        return prediction

    def read(self, data: str, reading: Mapping[str, Any] | None = None, *, need_gold: bool = False) -> Table:
        """Return the rows of a file, read as the run's own data were, but for the dotted options in ``reading``."""
        options = reading_options(self.data, reading or {})
        table = Table.read(data, options=options, columns=self.task.columns, need_gold=need_gold)
        for warning in table.warnings:
            logger.warning(warning)
        return table

    def pairs(self, rows: Iterable[str | Row]) -> Iterator[tuple[Row, Prediction]]:
        """Return each row beside its prediction, in the order of the rows, holding a bounded number of them."""
        ours, theirs = itertools.tee(self.row(row) for row in rows)
        return zip(ours, self.inference.stream(theirs), strict=True)

    def stream(self, rows: Iterable[str | Row]) -> Iterator[Prediction]:
        """Return the predictions of rows that need not fit into memory, in their order."""
        return self.inference.stream(self.row(row) for row in rows)

    def row(self, row: str | Row) -> Row:
        """Return a row as the task reads it.

        Raises:
            DataError: it lacks a column, or one holds something of the wrong kind.
        """
        if isinstance(row, str):
            row = {next(column.name for column in self.task.columns if column.kind in ("text", "passage")): row}
        return check_row(row, self.task.columns)


def _description(path: Path) -> dict[str, Any]:
    """Return what headway.json says, if it says all that `Predictor.load` needs."""
    about = read_json(path)
    task = about.get("task")
    parts = ("limits", "data")
    if (
        not isinstance(task, dict)
        or not isinstance(task.get("type"), str)
        or not isinstance(about.get("kind"), str)
        or not all(isinstance(about.get(part), dict) for part in parts)
    ):
        raise ModelError(f"{path} is not what headway writes there: it must hold task, kind, limits and data.")
    return about
