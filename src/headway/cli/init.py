"""`headway init`: look at a file, and write the recipe that a person would begin with."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from cyclopts import Parameter

from headway.cli.train import Overrides

if TYPE_CHECKING:
    from headway.data.guessing import Guess

CLASSIFICATION = "text-classification"
TASKS = (CLASSIFICATION, "summarization", "translation")
MAX_SAMPLED_ROWS = 2000
# The longest that is still cheap; a longer text is a decision that a person takes.
LONGEST = 512
_TOKENS_PER_WORD = 1.5
_PLAIN = re.compile(r"[A-Za-z_./][\w./ +-]*(?<! )")
_WORDS_OF_YAML = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"}


def init(
    data_file: str,
    /,
    *overrides: Overrides,
    output: str = "recipe.yaml",
    task: str | None = None,
    overwrite: bool = False,
    json_: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Look at a table and write a recipe for it: columns, kind of labels, and how much of a text the model sees.

    What is told is not guessed: `--data.columns.label stars`, `--data.delimiter ";"`, `--data.encoding cp1252`, and
    any other option of a recipe as `--section.option VALUE`.

    Args:
        data_file: The rows to learn from: CSV, TSV, JSONL, JSON, Parquet, or a folder with one folder for each label.
        overrides: Options of the recipe.
        output: The recipe to write.
        task: What is to be learnt: text-classification, summarization or translation; else the columns' names say it.
        overwrite: Replace the file if there is one.
        json_: Print one JSON object on standard output.
    """
    from headway.data.guessing import guess
    from headway.data.options import DataOptions
    from headway.errors import RecipeError, RunBusyError
    from headway.files import write_text
    from headway.recipe import Recipe, parse_overrides, reading_options
    from headway.yaml_text import parse_yaml

    if task not in (None, *TASKS):
        raise RecipeError(f"--task {task}: a recipe can be begun for {', '.join(TASKS)} only, so far.")
    place = Path(output)
    if place.is_dir():
        raise RecipeError(f"--output {output} is a folder. Name the file to write: {place / 'recipe.yaml'}.")
    if place.exists() and not overwrite:
        raise RunBusyError(f"{output} exists already. Add --overwrite to replace it, or choose another --output.")
    told = _nested(parse_overrides(overrides))
    of_data = {name: value for name, value in parse_overrides(overrides).items() if name.startswith("data.")}
    reading_options(DataOptions(train=data_file), of_data)
    found = guess(data_file, reading=told.get("data", {}), task=task)
    content, comments = _recipe(found, data_file=data_file, recipe=place, told=told)
    text = _yaml(content, comments, head=_head(found, data_file, output))
    # What is written is what `headway train` will read: any slip shows here, not tomorrow.
    Recipe.from_dict(parse_yaml(text, source=output), source=output, base=place.resolve().parent)
    write_text(place, text)
    commands = [f"headway check {output}", f"headway train {output}"]
    if json_:
        about = {"recipe": output, "rows": len(found.texts), "task": found.task, "problem_type": found.problem_type}
        print(json.dumps({**about, "content": content, "notes": found.notes, "next": commands}, ensure_ascii=False))
        return
    print(f"{data_file}: {len(found.texts):,} rows, {_kind(found)}.")
    for note in found.notes:
        print(f"Look at this: {note}")
    print(f"\nWritten: {output}\nNext:    {commands[0]}\n         {commands[1]}")


def _nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    from headway.errors import RecipeError

    content: dict[str, Any] = {}
    for name, value in overrides.items():
        *sections, option = name.split(".")
        if not sections:
            raise RecipeError(f"--{name} is not an option of init. Options of the recipe are written --section.option.")
        place = content
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise RecipeError(f"--{name}: {section!r} was given a value of its own before.")
        place[option] = value
    return content


def _recipe(
    found: Guess, *, data_file: str, recipe: Path, told: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[tuple[str, str], str]]:
    """Return the recipe, and a comment on each option that is worth one."""
    model = str(told.get("model", {}).get("model_name_or_path", "minilm"))
    tokens, is_counted = _token_counts(found.texts, model)
    max_length, share = _max_length(tokens)
    is_small = len(found.texts) < 2000
    content: dict[str, Any] = {
        "task": {"type": found.task, "problem_type": found.problem_type},
        "data": {
            "train": _path_from(recipe, data_file),
            "validation": 0.2 if len(found.texts) < 1000 else 0.1,
            **found.reading,
            "max_length": max_length,
        },
        "model": {"model_name_or_path": "minilm"},
        "optimization": {"learning_rate": 5e-5, "warmup_ratio": 0.1},
        "training": {"num_train_epochs": 3, "per_device_train_batch_size": 16 if is_small else 32, "seeds": [0]},
    }
    # Rounded down: where one row is cut, it is not 100 %.
    rows = "rows" if len(tokens) == len(found.texts) else f"{len(tokens):,} rows looked at"
    fit = f"all {rows} fit" if share == 1 else f"{math.floor(share * 1000) / 10:.1f} % of the {rows} fit"
    comments = {
        ("data", "validation"): "share of the rows held out to choose the best checkpoint; or a file of its own",
        ("data", "column_names"): "the file has no header; a name that the task does not know is left out",
        ("data", "quoting"): "a quote in this file is a character like any other",
        ("data", "label_delimiter"): "stands between the labels of a row",
        ("data", "max_length"): f"tokens; {fit}" + ("" if is_counted else ", as their words let one guess"),
        ("model", "model_name_or_path"): "or a folder, or a name on the Hugging Face hub",
        ("training", "seeds"): "[0, 1, 2] trains three times and shows how much is luck",
    }
    if found.task != CLASSIFICATION:
        targets, _ = _token_counts([(text,) for text in found.targets], model)
        content["task"] = {"type": found.task, "max_target_length": _max_length(targets)[0]}
        content["training"]["max_eval_samples"] = 200
        comments["training", "max_eval_samples"] = "writing takes long: so many rows are scored during training"
        if model == "minilm":
            # A decoder is made of the encoder; it must first learn to look at what the encoder says.
            content["model"] |= {"freeze": "all", "dropout": 0.0}
            content["optimization"]["learning_rate"] = 1e-3
            content["training"]["num_train_epochs"] = 12 if is_small else 3
            comments["model", "model_name_or_path"] = (
                "made into a model that writes English in lower case; or an encoder-decoder such as T5, BART, Marian"
            )
            comments["model", "freeze"] = "of an encoder-decoder train all, at a learning rate of 3e-5"
    counts = list(found.labels.values())
    if found.problem_type == "single_label_classification" and counts and counts[0] > 10 * counts[-1]:
        rare = list(found.labels)[-1]
        content["optimization"]["class_weights"] = None
        comments["optimization", "class_weights"] = (
            f"`balanced` gives rare labels ({rare}: {counts[-1]:,} rows) the weight of common ones"
        )
    for section, options in told.items():
        content.setdefault(section, {})
        for name, value in options.items():
            if (section, name) == ("data", "columns"):  # what was told of them is in what was found
                continue
            content[section][name] = value
            comments.pop((section, name), None)
    return content, comments


def _token_counts(texts: Sequence[tuple[str, ...]], model: str) -> tuple[list[int], bool]:
    """Return the tokens of rows spread over the whole table, and whether a tokenizer counted them."""
    step = max(1, len(texts) // MAX_SAMPLED_ROWS)
    # A text of many pages is cut anyway; its exact length decides nothing.
    rows = [tuple(text[: LONGEST * 20] for text in row) for row in texts[::step]]
    file = _tokenizer_file(model)
    if file is None:
        return [round(_TOKENS_PER_WORD * sum(len(text.split()) for text in row)) + 1 + len(row) for row in rows], False
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    encoded = tokenizer.encode_batch([row if len(row) == 2 else row[0] for row in rows])
    return [len(one.ids) for one in encoded], True


def _tokenizer_file(model: str) -> Path | None:
    from headway.errors import HeadwayError
    from headway.models.location import EMBEDDED, locate

    try:
        # A name on a hub is not fetched for a guess.
        folder = locate(model).folder if model == EMBEDDED or Path(model).is_dir() else None
    except HeadwayError:
        folder = None
    file = folder / "tokenizer.json" if folder else None
    return file if file and file.is_file() else None


def _max_length(tokens: Sequence[int]) -> tuple[int, float]:
    """Return a multiple of 16 that 99 % of the rows fit into, and the share that does."""
    longest = sorted(tokens)[max(0, -(-99 * len(tokens) // 100) - 1)]
    # Some room for rows that are yet to come, unless it costs.
    chosen = min(LONGEST, max(32, -(-longest // 16) * 16))
    return chosen, sum(count <= chosen for count in tokens) / len(tokens)


def _path_from(recipe: Path, data_file: str) -> str:
    """Return the path as seen from the recipe's folder, so that the two can move together."""
    relative = os.path.relpath(Path(data_file).resolve(), recipe.resolve().parent)
    return Path(data_file).resolve().as_posix() if relative.startswith("../../..") else Path(relative).as_posix()


def _kind(found: Guess) -> str:
    if found.task != CLASSIFICATION:
        return f"texts to be written ({found.task})"
    if found.problem_type == "regression":
        return "a number to predict"
    shown = ", ".join(f"{label}: {count:,}" for label, count in list(found.labels.items())[:5])
    more = f", and {len(found.labels) - 5} more" if len(found.labels) > 5 else ""
    several = ", several a row" if found.problem_type == "multi_label_classification" else ""
    return f"{len(found.labels)} labels{several} ({shown}{more})"


def _head(found: Guess, data_file: str, output: str) -> list[str]:
    return [
        f"Begun by `headway init {data_file}`: {len(found.texts):,} rows, {_kind(found)}.",
        *found.notes,
        f"What is not here has its default; `headway recipe print {output}` shows all options.",
    ]


# --- YAML that a person goes on with ----------------------------------------------------------------------------------


def _yaml(content: Mapping[str, Any], comments: Mapping[tuple[str, str], str], *, head: Sequence[str]) -> str:
    lines = [f"# {_one_line(line)}" for line in head]
    for section, options in content.items():
        lines.append("")
        lines.append(f"{section}:")
        for name, value in options.items():
            comment = comments.get((section, name))
            lines.append(f"  {name}: {_flow(value)}" + (f"  # {_one_line(comment)}" if comment else ""))
    return "\n".join(lines) + "\n"


def _one_line(text: str) -> str:
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text).split())


def _flow(value: Any) -> str:
    """Return a value in one line of YAML; what might be read as anything but a text stands in quotes."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS_OF_YAML:
        return value
    if isinstance(value, float):
        return (
            f"{value:.1e}".replace("e-0", "e-") if 0 < value < 1e-3 and float(f"{value:.1e}") == value else repr(value)
        )
    if isinstance(value, str):
        return yaml.safe_dump(value, default_style='"', allow_unicode=True, width=2**31).strip()
    # JSON's numbers and words are YAML's as well.
    return json.dumps(value)
