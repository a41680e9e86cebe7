"""Names of options: those that other tools have for them, and the one that was probably meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from headway.errors import did_you_mean
from headway.types import Options

# Names that users of other tools type, and what they are called here.
ALIASES = {
    "lr": "optimization.learning_rate",
    "epochs": "training.num_train_epochs",
    "num_epochs": "training.num_train_epochs",
    "max_epochs": "training.num_train_epochs",
    "batch_size": "training.per_device_train_batch_size",
    "train_batch_size": "training.per_device_train_batch_size",
    "eval_batch_size": "training.per_device_eval_batch_size",
    "evaluation_strategy": "training.eval_steps (empty evaluates after each epoch)",
    "eval_strategy": "training.eval_steps (empty evaluates after each epoch)",
    "save_strategy": "training.save_steps",
    "optim": "optimization.optimizer",
    "scheduler": "optimization.lr_scheduler_type",
    "warmup": "optimization.warmup_ratio",
    "max_seq_length": "data.max_length",
    "max_len": "data.max_length",
    "max_source_length": "data.max_length",
    "max_target_length": "task.max_target_length",
    "num_beams": "task.generation.num_beams",
    "train_file": "data.train",
    "validation_file": "data.validation",
    "test_file": "data.test",
    "text_column": "data.columns.text",
    "label_column": "data.columns.label",
    "pretrained_model_name_or_path": "model.model_name_or_path",
    "base_model": "model.model_name_or_path",
    "model_name": "model.model_name_or_path",
    "seed": "training.seeds",
    "patience": "training.early_stopping_patience",
    "fp16": "training.bf16 (float16 is not offered: it overflows where bfloat16 does not)",
    "precision": "training.bf16",
    "label_smoothing": "optimization.label_smoothing_factor",
    "grad_clip": "optimization.max_grad_norm",
    "gradient_clip_val": "optimization.max_grad_norm",
    "accumulate_grad_batches": "optimization.gradient_accumulation_steps",
    "resume_from_checkpoint": "the flag --resume",
    "overwrite_output_dir": "the flag --overwrite",
    "num_labels": "task.labels (the list of names)",
}


def names_within(options: type[Options], prefix: str) -> list[str]:
    """Return the dotted names of the options of a group, and of the groups in it, each behind ``prefix``."""
    names = []
    for name, field in options.model_fields.items():
        names.append(prefix + name)
        for inner in _groups(field.annotation):
            names += names_within(inner, f"{prefix}{name}.")
    return names


def right_name(place: str, names: Sequence[str]) -> str:
    """Return a sentence that says which of ``names`` was probably meant by ``place``, or where all of them stand."""
    section, dot, _ = place.partition(".")
    parent, _, word = place.rpartition(".")
    if word in ALIASES and ALIASES[word] != place:
        return f" Here it is called {ALIASES[word]}."
    # What stands in that place comes first: `training.save_step` is more likely there than anywhere else.
    beside = [name for name in names if name.rpartition(".")[0] == parent]
    near_by = [name for name in names if name.startswith(f"{section}.")] if dot else []
    sections = [] if dot else list(dict.fromkeys(name.partition(".")[0] for name in names))
    for some in (sections, beside, near_by, names):
        by_word = {name.rpartition(".")[2]: name for name in some}
        if near := did_you_mean(word, by_word):
            found = near.split("'")[1]
            return near.replace(found, by_word[found])
    return " `headway recipe schema` lists all options."


def _groups(annotation: Any) -> Iterator[type[Options]]:
    """Return the groups of options that a field may hold, also beside None."""
    if isinstance(annotation, type) and issubclass(annotation, Options):
        yield annotation
    else:
        for inner in get_args(annotation):
            yield from _groups(inner)
