"""The recipe: the root of all options. Read from YAML and dotted overrides, checked at once, saved complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator

from headway.data.options import DataOptions
from headway.errors import HeadwayError, RecipeError, did_you_mean
from headway.importing import find_user_code, load_class
from headway.models.options import ModelOptions
from headway.option_names import names_within, right_name
from headway.tasks.base import Task
from headway.training.options import MultiTask, OptimizationOptions, TrainingOptions
from headway.types import Options
from headway.yaml_text import Dumper, parse_value, parse_yaml

TASKS = {
    "text-classification": "headway.tasks.text_classification.TextClassification",
    "token-classification": "headway.tasks.token_classification.TokenClassification",
    "sentence-embeddings": "headway.tasks.sentence_embeddings.SentenceEmbeddings",
    "multiple-choice": "headway.tasks.multiple_choice.MultipleChoice",
    "question-answering": "headway.tasks.question_answering.QuestionAnswering",
    "relation-extraction": "headway.tasks.relation_extraction.RelationExtraction",
    "pretraining": "headway.tasks.pretraining.Pretraining",
    "summarization": "headway.tasks.summarization.Summarization",
    "translation": "headway.tasks.translation.Translation",
    "dialogue": "headway.tasks.dialogue.Dialogue",
}

OF_EACH_TASK = {
    "model": ("head", "pooling", "pooling_layers"),
    "optimization": ("loss", "class_weights", "label_smoothing_factor"),
}
"""Options that each task of several has for itself, beside `task` and `data`."""


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
    multi_task: MultiTask | None = None
    """Further tasks that share the backbone with the recipe's own and are learnt at the same time."""
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
    def _caches_what_stays(self) -> Self:
        if not self.model.cache_frozen:
            return self
        if self.training.contrastive is not None:
            raise ValueError("model.cache_frozen does not go with training.contrastive; leave one of them out")
        if type(self.task).refresh is not Task.refresh:
            raise ValueError(f"model.cache_frozen: {self.task.type} draws other inputs in each epoch; leave it off")
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

    @model_validator(mode="after")
    def _tasks_go_together(self) -> Self:
        self.parts()
        if self.multi_task is not None and self.training.contrastive is not None:
            raise ValueError("training.contrastive tunes the backbone for one task; leave it out, or multi_task")
        return self

    def parts(self) -> dict[str, Recipe]:
        """Return the recipe of each task by name, the recipe's own first, under the empty name.

        Raises:
            RecipeError: a task of `multi_task` is no whole one, or sets what all share.
        """
        beside = {} if self.multi_task is None else self.multi_task.tasks
        return {"": self, **{name: self._beside(name, content) for name, content in beside.items()}}

    def _beside(self, name: str, content: Mapping[str, Any]) -> Recipe:
        place = f"multi_task.tasks.{name}"
        whole = self.model_dump(mode="json", exclude={"task", "data", "multi_task", "output_dir"})
        whole |= {section: content[section] for section in ("task", "data") if section in content}
        # Who chooses the best weights, and who teaches, is said once for the whole run.
        whole["training"] |= {"metric_for_best_model": None, "early_stopping_patience": None}
        whole["optimization"]["distillation"] = None
        for section, changed in content.items():
            if section in ("task", "data"):
                continue
            own = OF_EACH_TASK.get(section, ())
            if not isinstance(changed, Mapping):
                raise RecipeError(f"{place}.{section} holds {changed!r:.80} and not options. Write option: value.")
            if shared := [option for option in changed if option not in own]:
                names = ", ".join(f"{key}.{one}" for key, some in OF_EACH_TASK.items() for one in some)
                raise RecipeError(
                    f"{place}.{section}.{shared[0]}: all tasks share it, so it is set once, as {section}.{shared[0]} "
                    f"of the recipe. Beside task and data, each task has its own {names}."
                )
        for section, own in OF_EACH_TASK.items():
            kept = {option: value for option, value in whole[section].items() if option not in own}
            whole[section] = kept | dict(content.get(section, {}))
        try:
            return Recipe.model_validate(whole)
        except ValidationError as error:
            raise RecipeError(_explain(error, place, whole)) from None
        except HeadwayError as error:
            raise RecipeError(f"{place}: {error}") from error

    def with_parts(self, parts: Mapping[str, Recipe]) -> Recipe:
        """Return the recipe with task and data of each of its `parts` as they are given."""
        beside = {
            name: {**content, "task": parts[name].task.model_dump(mode="json"),
                   "data": parts[name].data.model_dump(mode="json")}
            for name, content in ({} if self.multi_task is None else self.multi_task.tasks).items()
        }  # fmt: skip
        multi_task = self.multi_task and self.multi_task.model_copy(update={"tasks": beside})
        return self.model_copy(update={"task": parts[""].task, "data": parts[""].data, "multi_task": multi_task})

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
            raise RecipeError(_explain(error, source, content)) from None
        except HeadwayError as error:
            raise RecipeError(f"{source}: {error}") from error
        if base is None:
            return recipe
        parts = recipe.parts().items()
        return recipe.with_parts({
            name: one.model_copy(update={"data": one.data.relative_to(base)}) for name, one in parts
        })  # fmt: skip

    def changed(self, overrides: Mapping[str, Any]) -> Recipe:
        """Return the recipe with dotted options changed; see `load` for what is raised."""
        return Recipe.from_dict(_overridden(self.model_dump(mode="json"), overrides))

    def to_yaml(self) -> str:
        """Return the complete recipe, defaults included, as YAML that `load` reads back to an equal recipe."""
        return yaml.dump(self.model_dump(mode="json"), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)


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


# --- the command line -------------------------------------------------------------------------------------------------


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


def answering_options(task: Task, changes: Mapping[str, Any]) -> Task:
    """Return the task of a run with some of its `answer_options` changed, named `task.max_answer_length` or so.

    Raises:
        RecipeError: there is no such option, it decides what was learnt, or the value does not fit it.
    """
    content = task.model_dump(mode="json")
    for name in changes:
        option = name.removeprefix("task.").partition(".")[0]
        if option not in task.answer_options:
            hint = did_you_mean(option, task.answer_options)
            raise RecipeError(
                f"{name}: a finished run of {task.name} cannot change it.{hint} At prediction it takes "
                f"{', '.join(f'task.{one}' for one in task.answer_options) or 'no option of its task'}."
            )
    try:
        return type(task).model_validate(
            _overridden(content, {name.removeprefix("task."): one for name, one in changes.items()})
        )
    except ValidationError as error:
        raise RecipeError(_explain(error, "task", {"task": task.type})) from None


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
    """Return the dotted name of every option of every section but `task`, whose options depend on its type."""
    names = []
    for section, field in Recipe.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Options) and inner is not Task:
            names += [f"{section}.{option}" for option in inner.model_fields]
        else:
            names.append(section)
    return names


def _options_of_task(content: Mapping[str, Any]) -> list[str]:
    """Return the dotted names of all options that the task of an unchecked recipe has."""
    task = content.get("task")
    name = task.get("type") if isinstance(task, Mapping) else task
    if not isinstance(name, str):
        return []
    return names_within(load_class(name, known=TASKS, option="task.type", base=Task), "task.")


# Tags of the union in headway.data.options.
SOURCE_FORMS = ("path", "files", "source", "share")


def _explain(error: ValidationError, source: str, content: Mapping[str, Any] | None = None) -> str:
    lines = []
    for problem in error.errors():
        # The forms that a source may take stand in pydantic's place, but not in the recipe.
        parts = [str(part) for part in problem["loc"]]
        place = ".".join(part for number, part in enumerate(parts) if number != 2 or part not in SOURCE_FORMS)
        found = problem["input"]
        if problem["type"] == "extra_forbidden":
            names = [*option_names(), *_options_of_task(content or {})]
            lines.append(f"{place}: there is no such option.{right_name(place, names)}")
        elif problem["type"] == "missing":
            lines.append(f"{place}: is missing.")
        else:
            message = problem["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
            lines.append(f"{place}: {message[0].lower()}{message[1:]} (found {found!r:.80}).")
    return f"{source}: " + "\n  ".join(lines)
