"""The recipes of public data sets: each works on rows in its hub's layout, and the page that lists them is current."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from tests.hub_layouts import LAYOUTS, NUM_ROWS, TEXTS, WITH_UNLABELLED_ROWS, write, write_texts

import headway
from headway.preparation import read_tables
from headway.recipe import Recipe, parse_overrides
from headway.train import train

ROOT = Path(__file__).parents[1]
FOLDER = Path(headway.__file__).parent / "recipes"
RECIPES = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}
ADDRESS = re.compile(r"hub:(?P<name>[^\[]+)\[(?P<split>\w+)\]")


def content(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(RECIPES[name].read_text(encoding="utf-8"))
    return loaded


def sources(name: str) -> dict[str, re.Match[str]]:
    """Return what a recipe reads from a hub, by the name of the split."""
    data = content(name)["data"]
    given = {split: ADDRESS.fullmatch(str(data.get(split))) for split in ("train", "validation", "test")}
    return {split: match for split, match in given.items() if match}


FROM_HUB = [name for name in RECIPES if content(name)["task"]["type"] == "text-classification" and sources(name)]


def test_the_sets_of_the_field_are_there() -> None:
    glue = {"cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb"}
    others = {"ag_news", "banking77", "clinc150", "goemotions", "imdb", "movie_reviews", "snli", "tweeteval-emotion"}
    assert glue | others <= set(RECIPES)
    assert len(FROM_HUB) >= 15


@pytest.mark.parametrize("name", FROM_HUB)
def test_it_trains_on_rows_in_the_hubs_layout(name: str, tiny_bert: Path, tmp_path: Path) -> None:
    read = sources(name)
    (data_set,) = {match["name"] for match in read.values()}
    write(data_set, sorted({match["split"] for match in read.values()}), tmp_path / "hub")
    options = {
        "model.model_name_or_path": str(tiny_bert),
        "training.max_steps": 2,
        "training.per_device_train_batch_size": 4,
        "training.baselines": False,
        "training.bf16": False,
        **{f"data.{split}": f"hub:{tmp_path / 'hub'}[{match['split']}]" for split, match in read.items()},
    }
    if "validation" not in read:
        options["data.validation"] = 0.25
    metrics = train(Recipe.load(name, options), output_dir=tmp_path / "run")
    assert metrics["last_step"] == 2
    assert set(metrics["metrics"]) == {"validation", *(["test"] if "test" in read else [])}
    assert metrics["main_metric"] in metrics["metrics"]["validation"]
    labels = Recipe.load(tmp_path / "run" / "recipe.yaml").task.model_dump()["labels"]
    kind = LAYOUTS[data_set][2]
    names = kind[0] if isinstance(kind, list) else kind
    if isinstance(names, tuple):
        assert set(labels) == set(names)
    else:
        assert bool(labels) == (kind is not float)
    lines = (tmp_path / "run" / "predictions" / "validation.jsonl").read_text().splitlines()
    left_out = data_set in WITH_UNLABELLED_ROWS
    assert len(lines) == (NUM_ROWS - left_out if "validation" in read else NUM_ROWS // 4)


@pytest.mark.parametrize("name", FROM_HUB)
def test_its_hyper_parameters_are_the_published_ones(name: str) -> None:
    recipe = Recipe.load(name)
    assert recipe.model.model_name_or_path in ("bert-base-cased", "distilbert-base-uncased")
    assert "minilm" in RECIPES[name].read_text(encoding="utf-8")
    if "glue/" in str(recipe.data.train):
        assert recipe.optimization.learning_rate == 2e-5
        assert recipe.training.per_device_train_batch_size == 32
        assert recipe.data.max_length == 128
        assert recipe.training.num_train_epochs == (5 if name == "mrpc" else 3)


# --- texts that are written -------------------------------------------------------------------------------------------

WRITTEN = {
    "xsum": ("document", "summary"),
    "cnn_dailymail": ("article", "highlights"),
    "wmt16-en-ro": ("en", "ro"),
    "dialogsum": ("dialogue", "summary"),
}
"""Recipe -> what is read of each row, and what is written."""


@pytest.mark.parametrize("name", WRITTEN)
def test_it_writes_texts_from_rows_in_the_hubs_layout(name: str, tiny_bert: Path, tmp_path: Path) -> None:
    read = sources(name)
    (data_set,) = {match["name"] for match in read.values()}
    assert set(read) == {"train", "validation", "test"}
    assert data_set in TEXTS
    write_texts(data_set, sorted(read), tmp_path / "hub")
    options = {
        "model.model_name_or_path": str(tiny_bert),
        "training.max_steps": 2,
        "training.per_device_train_batch_size": 4,
        "training.baselines": False,
        "training.bf16": False,
        "training.max_eval_samples": 4,
        "task.max_target_length": 12,
        "task.generation": {"num_beams": 2},
        "data.max_length": 32,
        **{f"data.{split}": f"hub:{tmp_path / 'hub'}[{match['split']}]" for split, match in read.items()},
    }
    metrics = train(Recipe.load(name, options), output_dir=tmp_path / "run")
    assert metrics["last_step"] == 2
    lines = (tmp_path / "run" / "predictions" / "test.jsonl").read_text().splitlines()
    source, target = WRITTEN[name]
    first = json.loads(lines[0])
    assert first["input"]["source"].startswith(f"the {source} of film 0")
    assert first["gold"]["references"][0].startswith(f"the {target} of film 0")
    assert len(lines) == NUM_ROWS


@pytest.mark.parametrize("name", WRITTEN)
def test_its_settings_of_generation_are_accepted_and_evaluation_is_bounded(name: str) -> None:
    recipe = Recipe.load(name)
    task: Any = recipe.task
    assert task.generation.num_beams == 4
    assert bool(task.model_dump().get("source_prefix")) == recipe.model.model_name_or_path.startswith("t5")
    assert recipe.training.max_eval_samples is not None or name == "dialogsum"


def test_the_warning_stands_where_tuning_does_not_pay() -> None:
    text = RECIPES["wmt16-en-ro"].read_text(encoding="utf-8")
    assert "WARNING: tuning is known not to pay" in text
    assert Recipe.load("wmt16-en-ro").training.baselines


# The files of the override in each recipe's comment lines, where they lie below the folder of data sets.
LOCAL = {
    "sst2": "sst2_glue", "mrpc": "mrpc", "qnli": "qnli", "rte": "rte", "mnli": "mnli", "stsb": "stsb", "imdb": "imdb",
    "ag_news": "ag_news", "banking77": "banking77", "goemotions": "goemotions", "clinc150": "clinc150",
    "tweeteval-emotion": "tweeteval/emotion", "snli": "snli", "movie_reviews": "movie_reviews",
}  # fmt: skip
FILE_NAMES = {"movie_reviews": ("movie_reviews.zip", "movie_reviews_1000.zip")}


@pytest.mark.parametrize(("name", "number"), [("wmt16-en-ro", 1), ("dialogsum", 3)])
def test_local_files_of_texts_are_read_as_its_comment_says(
    name: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ending in ("en", "ro"):
        (tmp_path / f"newsdev2016.{ending}").write_text("".join(f"{ending} {n}\n" for n in range(20)))
    columns = {"train": ("summary",), "dev": ("summary",), "test": ("summary1", "summary2", "summary3")}
    for split, names in columns.items():
        row = {"dialogue": "#Person1#: Hi.\n#Person2#: Hello.", **{one: f"They greet, {one}." for one in names}}
        (tmp_path / f"dialogsum.{split}.jsonl").write_text(f"{json.dumps(row)}\n" * 4)
    comment = " ".join(line.lstrip("# ") for line in RECIPES[name].read_text().splitlines() if line.startswith("#"))
    words = shlex.split(comment[comment.index("--data.") :].partition(" Without a network")[0])
    monkeypatch.chdir(tmp_path)
    tables = read_tables(Recipe.load(name, parse_overrides(words)))
    assert len(list(tables.values())[-1][0]["target"]) == number


@pytest.mark.slow
@pytest.mark.parametrize("name", LOCAL)
def test_the_override_in_its_comment_reads_local_files(
    name: str, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = RECIPES[name].read_text(encoding="utf-8").splitlines()
    words = " ".join(line.lstrip("# ") for line in lines if line.startswith("#   "))
    words = words.partition(";")[0].replace(*FILE_NAMES.get(name, ("", "")))
    monkeypatch.chdir(shared_data / LOCAL[name])
    recipe = Recipe.load(name, parse_overrides(shlex.split(words)))
    tables = read_tables(recipe)
    assert len(tables["train"]) >= 500
    labels = set(recipe.task.resolve(tables["train"]).model_dump()["labels"])
    for table in tables.values():
        named = {one for value in table.column("label") for one in (value if isinstance(value, list) else [value])}
        assert named <= labels or not labels


# --- the page that lists them -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_recipes", ROOT / "docs" / "generate_recipes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_recipes_is_current(generator: ModuleType) -> None:
    page = generator.PAGE.read_text(encoding="utf-8")
    assert page == generator.renewed(page), "run: .venv/bin/python docs/generate_recipes.py"
    for name in RECIPES:
        assert f"| `{name}` |" in page


def test_a_row_says_what_the_recipe_says(generator: ModuleType) -> None:
    row = generator.row(RECIPES["sst2"])
    assert row[0] == "`sst2`"
    assert row[1].startswith("GLUE SST-2: is a phrase")
    assert row[2:4] == ["text-classification", "`nyu-mll/glue/sst2`"]
    assert "92.32" in row[4]
    assert row[5] == "`train.tsv.gz`"
    assert generator.row(RECIPES["reviews"])[3:] == ["comes with headway", "", ""]
