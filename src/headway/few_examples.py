"""Few examples: the contrastive stage of a seed, a run of sentence embeddings that tunes the backbone for it.

The pairs come from the training rows of the recipe alone (`headway.training.contrastive`). The stage has a run
directory of its own within that of the seed: it is resumed there, and once finished never repeated.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

from headway.data.options import DataOptions
from headway.files import write_text
from headway.importing import Choice
from headway.models.backbone import Backbone, load_backbone
from headway.preparation import prepare, read_tables
from headway.recipe import Recipe
from headway.run_dir import RunDir
from headway.seed_run import train_one
from headway.tasks.sentence_embeddings import SentenceEmbeddings
from headway.training.contrastive import labelled_pairs
from headway.training.options import Contrastive, OptimizationOptions, TrainingOptions
from headway.work import Part, Ready, Work, build, encoded_once

logger = logging.getLogger(__name__)

WARMUP_RATIO = 0.1
"""As in setfit."""
SHARED = {"group_by_length", "save_steps", "logging_steps", "bf16", "deterministic"}
"""What the stage takes over from the recipe's `training`."""


def tuned_first(run: RunDir, work: Work, seed: int, ready: list[Ready]) -> tuple[Work, list[Ready]]:
    """Return work and model of a seed over the backbone that its contrastive stage tuned, which is trained now.

    Args:
        run: of this seed.
        work: of all seeds.
        seed: which.
        ready: the model over the backbone as it is, which a recipe without such a stage keeps.

    Raises:
        HeadwayError: see `headway.training.fit.fit`.
    """
    options = work.recipe.training.contrastive
    if options is None:
        return work, ready
    stage = RunDir(run.path / "contrastive")
    if not stage.is_complete:
        _train_stage(stage, work, options, seed)
    tuned = encoded_once(replace(work, backbone=_tuned(work, stage)))
    return tuned, build(tuned, seed)


def _train_stage(stage: RunDir, work: Work, options: Contrastive, seed: int) -> None:
    pairs = stage.path / "pairs.jsonl"
    rows = labelled_pairs(work.parts[0].prepared.tables["train"], pairs_per_row=options.pairs_per_row, seed=seed)
    write_text(pairs, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    recipe = _recipe(work.recipe, options, pairs)
    backbone = replace(work.backbone, options=recipe.model)
    prepared = prepare(recipe, read_tables(recipe), backbone.tokenizer)
    recipe = recipe.model_copy(update={"task": prepared.task, "output_dir": str(stage.path)})
    logger.info("Contrastive stage of seed %d: %s pairs.", seed, f"{len(prepared.tables['train']):,}")
    of_stage = Work(recipe, (Part("", recipe, prepared),), backbone, work.request, work.resume_command)
    train_one({"": stage}, of_stage, seed, build(of_stage, seed))


def _recipe(recipe: Recipe, options: Contrastive, pairs: Path) -> Recipe:
    """Return the recipe of the stage: embeddings, pooled as the head will read them."""
    model, data = recipe.model, recipe.data
    pooling = "mean" if model.pooling == "attention" else model.pooling or "cls"
    freeze = "none" if model.freeze == "all" else model.freeze
    return Recipe(
        task=SentenceEmbeddings(),
        data=DataOptions(
            train=str(pairs),
            validation=None,
            max_length=data.max_length,
            # An embedding is that of one window.
            truncation="head" if data.truncation == "window" else data.truncation,
        ),
        model=model.model_copy(
            update={"head": Choice(name="default"), "pooling": pooling, "pooling_layers": 1, "freeze": freeze}
        ),
        optimization=OptimizationOptions(learning_rate=options.learning_rate, warmup_ratio=WARMUP_RATIO),
        training=TrainingOptions(
            num_train_epochs=options.num_train_epochs,
            per_device_train_batch_size=options.per_device_train_batch_size,
            baselines=False,
            **recipe.training.model_dump(include=SHARED),
        ),
        trainer=recipe.trainer,
    )


def _tuned(work: Work, stage: RunDir) -> Backbone:
    """Return the backbone of the stage under name, tokenizer and configuration of the one that it began from."""
    model, began = work.recipe.model, work.backbone
    # Layers that were drawn anew have learnt something since.
    changes = {"model_name_or_path": str(stage.model), "revision": None, "reinit_layers": 0}
    tuned = load_backbone(model.model_copy(update=changes))
    return replace(
        tuned,
        name=began.name,
        origin=f"{began.origin}, tuned contrastively first",
        tokenizer=began.tokenizer,
        # Of a shortened model the layers that are left are counted in its own.
        config=began.config if model.num_hidden_layers is None else tuned.config,
    )
