"""The recipe: the root of all options. Read from YAML and dotted overrides, checked at once, saved complete."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator

from headway.data.options import DataOptions
from headway.errors import HeadwayError, RecipeError, did_you_mean
from headway.importing import find_user_code, load_class
from headway.models.options import ModelOptions
from headway.tasks.base import Task
from headway.training.options import OptimizationOptions, TrainingOptions
from headway.types import Options

TASKS = {
    "text-classification": "headway.tasks.text_classification.TextClassification",
    "token-classification": "headway.tasks.token_classification.TokenClassification",
    "sentence-embeddings": "headway.tasks.sentence_embeddings.SentenceEmbeddings",
    "multiple-choice": "headway.tasks.multiple_choice.MultipleChoice",
    "question-answering": "headway.tasks.question_answering.QuestionAnswering",
    "relation-extraction": "headway.tasks.relation_extraction.RelationExtraction",
    "pretraining": "headway.tasks.pretraining.Pretraining",
}

MAX_VALUES = 1_000_000
"""Values that a recipe may hold, its aliases written out."""

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


def _task(value: Any) -> Any:
    if isinstance(value, str):
        value = {"type": value}
    if not isinstance(value, Mapping):
        return value
    name = value.get("type")
    if not isinstance(name, str):
        raise RecipeError(f"task.type is missing. Use one of {', '.join(TASKS)}, or the import path of your own task.")
    return load_class(name, known=TASKS, option="task.type", base=Task).model_validate(dict(value))


class Recipe(Options):
    """Everything that decides a run, and nothing else."""

    task: Annotated[SerializeAsAny[Task], BeforeValidator(_task)]
    """What is learnt: `type` and the task's own options."""
    data: DataOptions
    """Where the rows come from and how they are read."""
    model: ModelOptions = ModelOptions()
    """What is tuned: backbone, head and which parts of it move."""
    optimization: OptimizationOptions = OptimizationOptions()
    """How the weights are moved."""
    training: TrainingOptions = TrainingOptions()
    """How long and how carefully."""
    trainer: dict[str, Any] = Field(default_factory=dict)
    """Arguments of `lightning.Trainer`, handed through as they are (`accelerator`, `devices`, `strategy`, ...)."""
    output_dir: str | None = None
    """The run directory; empty takes `runs/<name of the recipe>`."""

    @model_validator(mode="after")
    def _has_what_it_chooses_by(self) -> Self:
        chosen = {
            "training.metric_for_best_model": self.training.metric_for_best_model is not None,
            "training.early_stopping_patience": self.training.early_stopping_patience is not None,
            "optimization.lr_scheduler_type": self.optimization.lr_scheduler_type == "reduce_lr_on_plateau",
        }
        needing = [name for name, is_set in chosen.items() if is_set]
        if self.data.validation is None and needing:
            raise ValueError(f"{needing[0]} needs validation rows; set data.validation, or leave the option out")
        return self

    @model_validator(mode="after")
    def _unfreezes_what_is_not_frozen(self) -> Self:
        if self.training.gradual_unfreezing and self.model.freeze != "none":
            raise ValueError("training.gradual_unfreezing trains all layers in the end; set model.freeze: none")
        return self

    @model_validator(mode="after")
    def _task_knows_the_strategy(self) -> Self:
        how, known = self.data.truncation, self.task.truncations
        if how not in known:
            raise RecipeError(
                f"data.truncation: {self.task.type} does not read a text by {how!r}. Use one of {', '.join(known)}."
            )
        if self.task.joins_windows and self.data.window_pooling != "mean":
            raise RecipeError(f"data.window_pooling: {self.task.type} joins windows in its own way. Leave it out.")
        return self

    @classmethod
    def load(cls, path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
        """Return the recipe in a YAML file, or a shipped one by its bare name, with dotted overrides applied.

        Raises:
            RecipeError: no such file, broken YAML, an unknown or ill-typed key; the message names it.
        """
        path = find_recipe(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: cannot be read as UTF-8 text: {error}.") from error
        content = parse_yaml(text, source=str(path))
        # A user's own classes lie beside the recipe or where headway is started.
        find_user_code(Path.cwd(), path.resolve().parent)
        return cls.from_dict(_overridden(content, overrides or {}), source=str(path), base=path.resolve().parent)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, source: str = "recipe", base: Path | None = None) -> Recipe:
        """Return the recipe for nested plain values; relative data paths that do not exist are looked up in ``base``.

        Raises:
            RecipeError: see `load`.
        """
        try:
            recipe = cls.model_validate(dict(content))
        except ValidationError as error:
            raise RecipeError(_explain(error, source)) from None
        except HeadwayError as error:
            raise RecipeError(f"{source}: {error}") from error
        if base is None:
            return recipe
        return recipe.model_copy(update={"data": recipe.data.relative_to(base)})

    def changed(self, overrides: Mapping[str, Any]) -> Recipe:
        """Return the recipe with dotted options changed; see `load` for what is raised."""
        return Recipe.from_dict(_overridden(self.model_dump(mode="json"), overrides))

    def to_yaml(self) -> str:
        """Return the complete recipe, defaults included, as YAML that `load` reads back to an equal recipe."""
        return yaml.dump(self.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def find_recipe(name: str | Path) -> Path:
    """Return the file of a recipe: a path, or the bare name of one that ships with headway."""
    path = Path(name)
    if path.is_file():
        return path
    shipped = {file.stem: file for file in (Path(__file__).parent / "recipes").glob("*.yaml")}
    if str(name) in shipped:
        return shipped[str(name)]
    if path.is_dir():
        raise RecipeError(f"{path} is a folder, not a recipe. Name the YAML file in it.")
    known = [*shipped, *(str(file) for file in path.parent.glob("*.y*ml"))]
    raise RecipeError(
        f"There is no recipe {str(name)!r}.{did_you_mean(str(name), known)} Name a YAML file or one of the shipped "
        f"recipes ({', '.join(sorted(shipped)[:6])}, ...; {len(shipped)} in all); `headway init` writes one for "
        "your data."
    )


# --- YAML -------------------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML 1.2 core rules: `no` and `on` are words, `010` is ten, `1e-5` is a number; a key may stand only once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+", "-+0123456789"),
    ("tag:yaml.org,2002:float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("tag:yaml.org,2002:float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(str(node.value)))


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads back: every word that YAML 1.1 or 1.2 might take for something else is quoted."""


_Dumper.yaml_implicit_resolvers = {
    first: [*yaml.SafeDumper.yaml_implicit_resolvers.get(first, []), *_Loader.yaml_implicit_resolvers.get(first, [])]
    for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Loader.yaml_implicit_resolvers}
}


def _word(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    # Outside double quotes these count as line ends, and a line end is folded into a blank.
    style = '"' if any(end in value for end in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _word)


def parse_yaml(text: str, *, source: str) -> dict[str, Any]:
    """Return the mapping in a YAML text.

    Raises:
        RecipeError: it is not YAML, holds a key twice, or is not a mapping.
    """
    try:
        content = yaml.load(text, Loader=_Loader)
        _check_aliases(content, {})
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise RecipeError(f"{source}{where}: not valid YAML: {error.problem or error.context}.") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{source}: not valid YAML: {error}.") from None
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{source}: not usable as YAML: {error}.") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{source}: a recipe is a mapping of sections (task, data, model, ...), not {content!r:.60}.")
    return content


def _check_aliases(content: Any, sizes: dict[int, int]) -> int:
    """Return how many values a content would hold with each alias written out.

    Raises:
        ValueError: they are far more than a recipe needs, or without end.
    """
    if not isinstance(content, dict | list):
        return 1
    if id(content) not in sizes:
        sizes[id(content)] = 0
        parts = content.values() if isinstance(content, dict) else content
        sizes[id(content)] = 1 + sum(_check_aliases(part, sizes) for part in parts)
    size = sizes[id(content)]
    if not 0 < size <= MAX_VALUES:
        found = f"more than {MAX_VALUES:,} values" if size else "a value that holds itself"
        raise ValueError(f"its aliases (*name) stand for {found}; write out what you need")
    return size


def parse_value(text: str) -> Any:
    """Return one value of the command line as YAML would read it: a number, a list, a word.

    Lists and mappings are written in brackets. All else that is no number is taken as it stands, so that a delimiter
    of ``|`` or a column called ``#1 String`` needs no second pair of quotes.
    """
    try:
        if not text.lstrip().startswith(("[", "{", "'", '"')):
            loader = _Loader("")
            tag = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
            return loader.construct_object(yaml.ScalarNode(tag, text))
        value = yaml.load(text, Loader=_Loader)
        _check_aliases(value, {})
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    return value


def parse_overrides(tokens: Sequence[str]) -> dict[str, Any]:
    """Return ``{"section.option": value}`` for ``--section.option value`` or ``--section.option=value``.

    Raises:
        RecipeError: a token is no option, or an option has no value.
    """
    overrides: dict[str, Any] = {}
    remaining = list(tokens)
    while remaining:
        token = remaining.pop(0)
        name, has_value, value = token.removeprefix("--").partition("=")
        if not token.startswith("--") or not name:
            raise RecipeError(f"{token!r} is not an option. Options are written --section.option VALUE.")
        name = ".".join(part.replace("-", "_") for part in name.split("."))
        if not has_value:
            if not remaining or remaining[0].startswith("--"):
                raise RecipeError(f"--{name} needs a value.")
            value = remaining.pop(0)
        overrides[name] = parse_value(value)
    return overrides


def reading_options(data: DataOptions, changes: Mapping[str, Any]) -> DataOptions:
    """Return the `data` section of a run with some options changed, named `format` or `data.format`.

    Raises:
        RecipeError: there is no such option, or the value does not fit it.
    """
    content = _overridden(
        data.model_dump(mode="json"), {name.removeprefix("data."): one for name, one in changes.items()}
    )
    try:
        return DataOptions.model_validate(content)
    except ValidationError as error:
        raise RecipeError(_explain(error, "data")) from None


def _overridden(content: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in overrides.items():
        *sections, option = name.split(".")
        place = content
        for section in sections:
            inner = place.get(section)
            # A section in its short form (`task: text-classification`) opens up to take an option.
            if isinstance(inner, str) and section == "task":
                inner = {"type": inner}
            place[section] = dict(inner) if isinstance(inner, Mapping) else {}
            place = place[section]
        place[option] = value
    return content


# --- messages ---------------------------------------------------------------------------------------------------------


def option_names() -> list[str]:
    """Return the dotted name of every option of every section."""
    names = []
    for section, field in Recipe.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Options) and inner is not Task:
            names += [f"{section}.{option}" for option in inner.model_fields]
        else:
            names.append(section)
    return names


# Tags of the union in headway.data.options.
SOURCE_FORMS = ("path", "files", "source", "share")


def _explain(error: ValidationError, source: str) -> str:
    lines = []
    for problem in error.errors():
        # The forms that a source may take stand in pydantic's place, but not in the recipe.
        parts = [str(part) for part in problem["loc"]]
        place = ".".join(part for number, part in enumerate(parts) if number != 2 or part not in SOURCE_FORMS)
        found = problem["input"]
        if problem["type"] == "extra_forbidden":
            lines.append(f"{place}: there is no such option.{_right_name(place)}")
        elif problem["type"] == "missing":
            lines.append(f"{place}: is missing.")
        else:
            message = problem["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
            lines.append(f"{place}: {message[0].lower()}{message[1:]} (found {found!r:.80}).")
    return f"{source}: " + "\n  ".join(lines)


def _right_name(place: str) -> str:
    word = place.rpartition(".")[2]
    if word in ALIASES:
        return f" Here it is called {ALIASES[word]}."
    section, dot, _ = place.partition(".")
    # What stands in that place comes first: `training.save_step` is more likely there than anywhere else.
    beside = [name for name in option_names() if name.startswith(f"{section}.")] if dot else list(Recipe.model_fields)
    for names in (beside, option_names()):
        by_word = {name.rpartition(".")[2]: name for name in names}
        if near := did_you_mean(word, by_word):
            found = near.split("'")[1]
            return near.replace(found, by_word[found])
    return " `headway recipe schema` lists all options."
