"""Every recipe that ships: it loads, its rows fit its task, and it takes a few steps."""

from pathlib import Path

import pytest

import headway
from headway.preparation import check_recipe, read_tables
from headway.recipe import Recipe, find_recipe
from headway.report import write_pages
from headway.train import train
from headway.yaml_text import parse_yaml

RECIPES = sorted(path.stem for path in (Path(headway.__file__).parent / "recipes").glob("*.yaml"))
SAMPLES = [name for name in RECIPES if "../samples/" in find_recipe(name).read_text(encoding="utf-8")]
"""Those whose rows ship with headway; the others read a hub, or local files by override."""


def test_there_are_recipes() -> None:
    assert {"questions", "reviews"} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_it_loads_by_its_bare_name_from_anywhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = Recipe.load(name)
    assert name not in SAMPLES or Path(str(recipe.data.train)).is_file()
    assert Recipe.from_dict(parse_yaml(recipe.to_yaml(), source="again")) == recipe


@pytest.mark.parametrize("name", RECIPES)
def test_it_opens_with_what_it_is_for(name: str) -> None:
    assert find_recipe(name).read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("name", SAMPLES)
def test_it_dry_runs(name: str, tiny_bert: Path, tmp_path: Path) -> None:
    """The rows of the sample pass the check, and two steps of a tiny model write a whole run with its pages."""
    overrides = {
        "model.model_name_or_path": str(tiny_bert),
        "training.max_steps": 2,
        "training.baselines": False,
        "training.bf16": False,
    }
    recipe = Recipe.load(name, overrides)
    rows = {split: len(table) for split, table in read_tables(recipe).items()}
    assert rows["train"] >= 40
    assert rows["validation"] >= 8
    metrics = train(recipe, output_dir=tmp_path / name)
    assert metrics["last_step"] == 2
    assert metrics["metrics"]["validation"]
    page = write_pages(tmp_path / name).read_text(encoding="utf-8")
    assert name in page
    assert "</html>" in page


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_its_rows_pass_the_check_with_the_real_tokenizer(name: str) -> None:
    from headway.models.backbone import load_backbone

    recipe = Recipe.load(name)
    rows, report = check_recipe(recipe, load_backbone(recipe.model).tokenizer)
    assert sum(rows.values()) >= 50
    assert report.to_json()["problems"] == []
