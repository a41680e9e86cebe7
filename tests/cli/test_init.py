"""`headway init`: a recipe that a person goes on with, and that loads as it is."""

import json
from pathlib import Path
from typing import Any

import pytest

import headway
from headway.cli.app import run
from headway.cli.init import _flow, _max_length
from headway.recipe import Recipe
from headway.yaml_text import parse_value, parse_yaml

SAMPLES = Path(headway.__file__).parent / "samples"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = [
        "review;stars",
        *(f"the film {number} was {'very ' * (number % 9)}good;{number % 5}" for number in range(60)),
    ]
    (tmp_path / "films.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def test_it_writes_a_recipe_that_loads(here: Path, capsys: Any) -> None:
    assert run(["init", "films.csv"]) == 0
    recipe = Recipe.load("recipe.yaml")
    assert recipe.data.columns == {"text": "review", "label": "stars"}
    assert recipe.data.delimiter == ";"
    assert recipe.data.train == str(here / "films.csv") or recipe.data.train == "films.csv"
    shown = capsys.readouterr().out
    assert "60 rows, 5 labels (0: 12" in shown
    assert shown.splitlines()[-2:] == ["Next:    headway check recipe.yaml", "         headway train recipe.yaml"]


def test_only_what_matters_is_in_it_with_comments(here: Path) -> None:
    assert run(["init", "films.csv"]) == 0
    text = (here / "recipe.yaml").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 35
    assert text.startswith("# Begun by `headway init films.csv`: 60 rows")
    assert "# share of the rows held out" in text
    assert "null" not in text


def test_it_never_overwrites_unasked(here: Path, capsys: Any) -> None:
    (here / "recipe.yaml").write_text("mine")
    assert run(["init", "films.csv"]) == 8
    assert "Add --overwrite" in capsys.readouterr().err
    assert (here / "recipe.yaml").read_text() == "mine"
    assert run(["init", "films.csv", "--overwrite"]) == 0
    assert "film" in (here / "recipe.yaml").read_text()


def test_what_is_told_goes_into_the_recipe(here: Path) -> None:
    told = ["--data.max-length", "77", "--training.seeds", "[1, 2]", "--trainer.devices", "1"]
    assert run(["init", "films.csv", *told, "--task.problem_type", "regression", "--output", "new/mine.yaml"]) == 0
    recipe = Recipe.load("new/mine.yaml")
    assert (recipe.data.max_length, recipe.training.seeds, recipe.trainer) == (77, (1, 2), {"devices": 1})
    assert recipe.task.model_dump()["problem_type"] == "regression"
    # Seen from the recipe's folder, so that both can move together.
    assert parse_yaml((here / "new/mine.yaml").read_text(), source="mine")["data"]["train"] == "../films.csv"
    assert Path(str(recipe.data.train)).resolve() == here / "films.csv"


@pytest.mark.parametrize(
    ("name", "header", "told", "task", "columns"),
    [
        ("news.csv", "id,document,summary", [], "summarization", {"source": "document", "target": "summary"}),
        ("pairs.csv", "id,en,de", [], "translation", {"source": "en", "target": "de"}),
        ("own.csv", "id,source,target", [], "translation", None),
        (
            "told.csv", "id,long,short",
            ["--task", "summarization", "--data.columns", "{source: long, target: short}"],
            "summarization", {"source": "long", "target": "short"},
        ),
    ],
)  # fmt: skip
def test_texts_to_be_written_are_told_by_the_names_of_the_columns(
    name: str, header: str, told: list[str], task: str, columns: Any, here: Path, capsys: Any
) -> None:
    lines = [header, *(f"{n},a long text of many words with number {n},the short one {n}" for n in range(60))]
    (here / name).write_text("\n".join(lines) + "\n")
    assert run(["init", name, *told]) == 0
    recipe = Recipe.load("recipe.yaml")
    assert recipe.task.type == task
    assert recipe.data.columns == columns
    assert recipe.task.model_dump()["max_target_length"] == 32
    assert (recipe.model.freeze, recipe.optimization.learning_rate) == ("all", 1e-3)
    assert recipe.training.max_eval_samples == 200
    assert f"60 rows, texts to be written ({task})." in capsys.readouterr().out
    assert run(["check", "recipe.yaml"]) == 0
    # Another model is trained whole, and who says what is to be learnt is believed.
    assert run(["init", name, *told, "--overwrite", "--model.model_name_or_path", "t5-small"]) == 0
    recipe = Recipe.load("recipe.yaml")
    assert (recipe.model.freeze, recipe.optimization.learning_rate) == ("none", 5e-5)


def test_a_rare_label_gets_a_hint(here: Path) -> None:
    lines = ["text,label", *(f"some text {number},{'rare' if number < 2 else 'common'}" for number in range(60))]
    (here / "rows.csv").write_text("\n".join(lines) + "\n")
    assert run(["init", "rows.csv"]) == 0
    assert "class_weights: null  # `balanced` gives rare labels (rare: 2 rows)" in (here / "recipe.yaml").read_text()


def test_json_is_one_object(here: Path, capsys: Any) -> None:
    assert run(["init", "films.csv", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["rows"] == 60
    assert content["next"] == ["headway check recipe.yaml", "headway train recipe.yaml"]
    assert content["content"]["data"]["train"] == "films.csv"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere.csv"], 3, "There is no file nowhere.csv"),
        (["films.csv", "--task", "parsing"], 2, "text-classification, summarization, translation only"),
        (["films.csv", "--task", "translation"], 3, "do not say what translation reads and writes"),
        (["films.csv", "--task", "translation", "--data.columns", "{source: review, target: no}"], 3, "do not say"),
        (["films.csv", "--output", "."], 2, "is a folder"),
        (["films.csv", "--data.delimeter", ";"], 2, "Did you mean"),
        (["films.csv", "--data.encoding", "utf-9"], 2, "not a text encoding"),
        (["films.csv", "--data.columns.label", "star"], 3, "Did you mean 'stars'?"),
        (["films.csv", "--data.columns", "x"], 2, "data"),
        (["films.csv", "--training.lr", "3"], 2, "optimization.learning_rate"),
        (["films.csv", "--epochs", "3"], 2, "is not an option of init"),
        (["films.csv", "--model", "x", "--model.head", "mlp"], 2, "is not an option of init"),
        (["films.csv", "--data.columns.text", "[review, stars]"], 3, "no column ['review', 'stars']"),
    ],
)
def test_a_mistake_is_a_message(arguments: list[str], code: int, message: str, here: Path, capsys: Any) -> None:
    assert run(["init", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert not (here / "recipe.yaml").exists()


@pytest.mark.parametrize(
    "value",
    [
        "no",
        "010",
        "1e-5",
        "a: b",
        "# c",
        "tab\there",
        "\x85",
        "\u2028",
        "'",
        '"',
        "",
        " a ",
        "é",
        "😀",
        "a,b",
        "[",
        "null",
        "-",
    ],
)
def test_any_text_stands_in_yaml(value: str) -> None:
    assert parse_value(_flow(value)) == value
    assert parse_value(_flow([value, {value: value}])) == [value, {value: value}]
    assert "\n" not in _flow(value)


@pytest.mark.parametrize("value", [5e-5, 2e-5, 0.1, 3, True, None, 1.25e-4])
def test_any_number_stands_in_yaml(value: Any) -> None:
    assert parse_value(_flow(value)) == value


def test_max_length_holds_99_of_100_rows() -> None:
    assert _max_length([10] * 100) == (32, 1.0)
    assert _max_length([70] * 99 + [5000]) == (80, 0.99)
    assert _max_length([600] * 10) == (512, 0.0)


@pytest.mark.parametrize("name", ["reviews.csv", "questions.csv", "similarity.tsv"])
def test_the_samples(name: str, here: Path) -> None:
    assert run(["init", str(SAMPLES / name)]) == 0
    recipe = Recipe.load("recipe.yaml")
    kind = "regression" if name.startswith("similarity") else "single_label_classification"
    assert recipe.task.model_dump()["problem_type"] == kind
    assert ("text_pair" in (recipe.data.columns or {})) == (name != "reviews.csv")


REAL = ["sst2/train.tsv", "mrpc/msr_paraphrase_train.txt", "rte/val.tsv", "stsb/stsb-en-dev.csv", "mnli/mnli_matched"]


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_its_recipe_passes_the_check(name: str, here: Path, shared_data: Path) -> None:
    assert run(["init", str(shared_data / name)]) == 0
    assert run(["check", "recipe.yaml", "--json"]) == 0
