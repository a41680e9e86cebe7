"""Before anything is trained: tables read and split, labels fixed, rows tokenised. Shared by train, plan and check."""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from headway.data.cache_files import cache_key
from headway.data.findings import Finding, Report, TokenLoss
from headway.data.split import some_of_each, split
from headway.data.table import Table
from headway.data.token_cache import TokenCache, open_or_build
from headway.errors import DataError, ModelError, RecipeError
from headway.importing import Choice
from headway.models.backbone import Backbone
from headway.models.estimators import is_estimator
from headway.models.losses import build_loss
from headway.models.prefix import check_room
from headway.models.safe_loading import sha256_of_tokenizer
from headway.models.windows import WindowedModel
from headway.recipe import OF_EACH_TASK, Recipe
from headway.tasks.base import Limits, Task
from headway.tokenising import encode_in_batches
from headway.training.contrastive import check_contrastive
from headway.training.estimators import check_estimator
from headway.training.loaders import BatchStream, TaskBatches
from headway.training.trial import check_layers, check_optimization

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """The rows of every split, as the task needs them, and their features."""

    task: Task
    tables: dict[str, Table]
    features: dict[str, TokenCache]
    limits: Limits


def read_tables(recipe: Recipe) -> dict[str, Table]:
    """Return the table of every split that the recipe names; `validation: 0.1` takes that share out of train.

    Raises:
        DataError: a file cannot be read as told.
    """
    data, columns = recipe.data, recipe.task.columns
    tables = {"train": Table.read(data.train, options=data, columns=columns, need_gold=True)}
    if isinstance(data.validation, float):
        tables["train"], tables["validation"] = split(
            tables["train"],
            share=data.validation,
            seed=data.split_seed,
            stratify_by=recipe.task.stratify_by if data.stratify else None,
            group_by=recipe.task.group_by,
        )
    elif data.validation is not None:
        tables["validation"] = Table.read(data.validation, options=data, columns=columns, need_gold=True)
    if data.max_train_rows_per_label is not None:
        tables["train"] = _few(tables["train"], recipe)
    if data.test is not None:
        tables["test"] = Table.read(data.test, options=data, columns=columns, need_gold=True)
    return tables


def _few(train: Table, recipe: Recipe) -> Table:
    data, column = recipe.data, recipe.task.stratify_by or "group"
    if column not in train.column_names or any(isinstance(value, list) for value in train.column(column)):
        raise RecipeError(
            "data.max_train_rows_per_label: rows of this task have no single label to be counted by. Leave it empty."
        )
    kept = some_of_each(train, column, most=data.max_train_rows_per_label or 1, seed=data.split_seed)
    logger.info("Learning from %d of %d rows: data.max_train_rows_per_label.", len(kept), len(train))
    return kept


def prepare(
    recipe: Recipe,
    tables: dict[str, Table],
    tokenizer: PreTrainedTokenizerBase,
    *,
    stop_check: Callable[[], None] = lambda: None,
) -> Prepared:
    """Return task, tables and features; features come from the token cache where it has them.

    ``stop_check`` is called now and then while rows are tokenised; it raises where the process was asked to stop.

    Raises:
        DataError: rows do not fit the task; all of them are named at once, up to twenty.
        ModelError: the tokenizer cannot serve the task.
        RecipeError: a metric of the user's own cannot be imported, or options do not suit the head.
    """
    recipe.task.own_metrics()
    if not tokenizer.is_fast and not recipe.task.generates:
        raise ModelError(
            f"{recipe.model.model_name_or_path} has no fast tokenizer (tokenizer.json), which {recipe.task.type} needs."
        )
    check_estimator(recipe.model, recipe.optimization, kind=recipe.task.model_kind, truncation=recipe.data.truncation)
    tables = {name: recipe.task.prepare(table, recipe.data.split_seed) for name, table in tables.items()}
    try:
        task = recipe.task.resolve(tables["train"])
    except DataError as error:
        raise DataError(tables["train"].in_file_terms(str(error))) from error
    check_contrastive(recipe.training.contrastive, recipe.model, task, tables["train"])
    limits = limits_of(recipe, tokenizer)
    features = {name: features_of(table, task, tokenizer, limits, stop_check) for name, table in tables.items()}
    return Prepared(task, tables, features, limits)


def limits_of(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Limits:
    """Return how much of a text the model sees: the recipe's wish, within what the model was built for."""
    max_length = recipe.data.max_length
    if max_length > tokenizer.model_max_length:
        logger.warning(
            "data.max_length is %d, but the model takes at most %d tokens; %d is used.",
            *(max_length, tokenizer.model_max_length, tokenizer.model_max_length),
        )
        max_length = tokenizer.model_max_length
    data = recipe.data
    return Limits(
        max_length=max_length,
        truncation=data.truncation,
        doc_stride=max_length // 4 if data.doc_stride is None else data.doc_stride,
        max_windows=data.max_windows,
    )


def features_of(
    table: Table,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    limits: Limits,
    stop_check: Callable[[], None] = lambda: None,
) -> TokenCache:
    """Return the features of a table, from the cache where it has them."""
    # The code of the task, of any task it builds on, and of all that it encodes with.
    files = [Path(inspect.getfile(one)) for one in type(task).__mro__ if issubclass(one, Task)]
    files += sorted(Path(inspect.getfile(Table)).parent.glob("*.py"))
    source = b"".join(file.read_bytes() for file in files)
    key = cache_key(
        rows=table.fingerprint,
        tokenizer=sha256_of_tokenizer(tokenizer),
        task=task.model_dump_json(exclude={"metrics"}),
        code=hashlib.sha256(source).hexdigest(),
        limits=limits.model_dump_json(),
    )
    name = f"{Path(table.name).name}-{len(table)}rows-{limits.max_length}tokens"
    return open_or_build(name, key, encode_in_batches(table, task, tokenizer, limits, stop_check))


def build_model(recipe: Recipe, prepared: Prepared, backbone: Backbone) -> nn.Module:
    """Return the task's model; where texts are read in windows, wrapped so that their scores become one.

    Raises:
        RecipeError: an option does not suit the model.
    """
    own = {name: getattr(recipe.model, name) for name in OF_EACH_TASK["model"]}
    model = prepared.task.build_model(replace(backbone, options=backbone.options.model_copy(update=own)))
    check_room(model, max_length=prepared.limits.max_length)
    if not is_estimator(recipe.model.head.name):
        check_layers(model, recipe.optimization, recipe.training)
    if recipe.data.truncation == "window" and not prepared.task.joins_windows:
        return WindowedModel(model, pooling=recipe.data.window_pooling)
    return model


def build_criterion(recipe: Recipe, prepared: Prepared) -> nn.Module:
    """Return the loss that the recipe asks for, or the task's own, with its class weights."""
    options, task = recipe.optimization, prepared.task
    weights = None
    if options.class_weights is not None:
        weights = torch.tensor(task.class_weights(prepared.tables["train"], options.class_weights))
    return build_loss(
        options.loss or Choice(name=task.default_loss),
        class_weights=weights,
        label_smoothing_factor=options.label_smoothing_factor,
    )


def build_stream(
    recipe: Recipe, prepared: Sequence[Prepared], tokenizer: PreTrainedTokenizerBase, *, seed: int
) -> BatchStream:
    """Return the training batches of one seed, of one task or of several that are learnt together."""
    tasks = [
        TaskBatches(one.features["train"], one.task, tokenizer, training=recipe.training, seed=seed) for one in prepared
    ]
    return BatchStream(
        tasks,
        training=recipe.training,
        optimization=recipe.optimization,
        seed=seed,
        sampling=recipe.multi_task.sampling if recipe.multi_task else "proportional",
    )


def check_recipe(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> tuple[dict[str, int], Report]:
    """Return the number of rows of each split, and what is wrong or suspicious with them.

    The splits of a further task carry its name (``similarity/train``).

    Raises:
        DataError: the rows cannot even be read.
        RecipeError: what the recipe names for them (loss, class weights, optimizer, schedule) does not suit them.
    """
    parts = recipe.parts()
    prepared = {name: prepare(one, read_tables(one), tokenizer) for name, one in parts.items()}
    for name, one in parts.items():
        build_criterion(one, prepared[name])
    check_optimization(recipe.optimization, build_stream(recipe, list(prepared.values()), tokenizer, seed=0))
    rows = {
        split_name(name, split): len(table) for name, one in prepared.items() for split, table in one.tables.items()
    }
    return rows, check_data(prepared)


def split_name(task: str, split: str) -> str:
    """Return what a split is called where several tasks are learnt together."""
    return f"{task}/{split}" if task else split


def check_data(prepared: Mapping[str, Prepared]) -> Report:
    """Return what each task finds wrong, or suspicious, with its rows."""
    reports = {name: _check_task(one) for name, one in prepared.items()}
    if len(reports) == 1:
        return reports.popitem()[1]

    def named(kind: str) -> tuple[Finding, ...]:
        return tuple(
            replace(one, split=split_name(name, one.split))
            for name, report in reports.items()
            for one in getattr(report, kind)
        )

    tokens = {split_name(name, split): lost for name, one in reports.items() for split, lost in one.tokens.items()}
    return Report(named("problems"), named("warnings"), tokens)


def _check_task(prepared: Prepared) -> Report:
    tokens_lost = {}
    for name, features in prepared.features.items():
        numbers = token_statistics(
            features,
            len(prepared.tables[name]),
            prepared.limits.max_length,
            joins_windows=prepared.task.joins_windows,
        )
        truncated = features.rows[features.tokens_lost > 0][:5].tolist()
        tokens_lost[name] = TokenLoss(**numbers, examples=truncated)
    return prepared.task.check(prepared.tables, tokens_lost)


def token_statistics(
    features: TokenCache, num_rows: int, max_length: int, *, joins_windows: bool = False
) -> dict[str, Any]:
    """Return how long the rows of a split are and what truncation leaves out, as in manifest.json.

    ``joins_windows`` is the task's: then several features of one row are windows over it.
    """
    windows = int(features.num_windows.sum())
    if joins_windows and len(features) > num_rows:
        windows = len(features)
    # A row may have several features, its windows.
    full = np.zeros(num_rows, dtype=np.int64)
    np.add.at(full, features.rows, features.lengths + features.tokens_lost - features.tokens_repeated)
    quantiles = np.quantile(full, [0.5, 0.9, 0.99, 1.0], method="higher") if len(full) else np.zeros(4)
    return {
        "rows": num_rows,
        "tokens": int(full.sum()),
        "tokens_lost": int(features.tokens_lost.sum()),
        "rows_truncated": len(set(features.rows[features.tokens_lost > 0].tolist())),
        "max_length": max_length,
        **({"windows": windows} if windows else {}),
        "length_quantiles": {
            name: int(value) for name, value in zip(("50", "90", "99", "100"), quantiles, strict=True)
        },
    }
