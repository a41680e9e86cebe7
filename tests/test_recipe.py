"""The recipe: YAML by the rules of version 1.2, overrides, the messages for what is wrong, and the way back to YAML."""

import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import RecipeError
from headway.recipe import Recipe, find_recipe, option_names, parse_overrides, reading_options
from headway.yaml_text import parse_yaml

SMALL = {"task": {"type": "text-classification"}, "data": {"train": "rows.csv"}}


def written(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_aliases_that_multiply_are_cheap(tmp_path: Path) -> None:
    """Nine levels of ten references would be a thousand million values, if each were copied."""
    levels = ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    levels += [
        f"{one}: &{one} [{','.join(['*' + before] * 10)}]" for before, one in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    path = written(tmp_path, "\n".join(levels))
    with pytest.raises(RecipeError) as caught:
        Recipe.load(path)
    assert len(str(caught.value)) < 5000


# --- options ----------------------------------------------------------------------------------------------------------


def test_defaults_are_filled_in() -> None:
    recipe = Recipe.from_dict(SMALL)
    assert recipe.task.name == "text-classification"
    assert recipe.model.model_name_or_path == "minilm"
    assert recipe.optimization.learning_rate == 5e-5
    assert recipe.training.seeds == (0,)


def test_the_short_form_of_a_task() -> None:
    assert Recipe.from_dict({**SMALL, "task": "text-classification"}) == Recipe.from_dict(SMALL)


def test_a_task_option_opens_the_short_form(tmp_path: Path) -> None:
    path = written(tmp_path, "task: text-classification\ndata: {train: rows.csv}\n")
    recipe = Recipe.load(path, {"task.problem_type": "regression"})
    assert recipe.task.model_dump()["problem_type"] == "regression"


@pytest.mark.parametrize(
    ("section", "option", "message"),
    [
        ("optimization", "lr", r"optimization\.lr: .*it is called optimization\.learning_rate"),
        ("training", "evaluation_strategy", r"training\.evaluation_strategy: .*training\.eval_steps"),
        ("training", "epochs", r"it is called training\.num_train_epochs"),
        ("optimization", "learning_rat", r"Did you mean 'optimization\.learning_rate'\?"),
        ("model", "learning_rate", r"Did you mean 'optimization\.learning_rate'\?"),
        ("training", "zzzzzz", r"`headway recipe schema` lists all options"),
        ("data", "colums", r"Did you mean 'data\.columns'\?"),
    ],
)
def test_an_unknown_key_gets_the_right_name(section: str, option: str, message: str) -> None:
    content = {**SMALL, section: {**SMALL.get(section, {}), option: 1}}
    with pytest.raises(RecipeError, match=message):
        Recipe.from_dict(content)


def test_an_unknown_section_gets_the_right_name() -> None:
    with pytest.raises(RecipeError, match=r"trainning: there is no such option\. Did you mean 'train"):
        Recipe.from_dict({**SMALL, "trainning": {}})
    with pytest.raises(RecipeError, match=r"zzzz: there is no such option\. `headway recipe schema` lists all options"):
        Recipe.from_dict({**SMALL, "zzzz": {}})


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"type": "summarization", "max_target_lenth": 3}, r"Did you mean 'task\.max_target_length'\?"),
        ({"type": "summarization", "generation": {"num_beam": 3}}, r"Did you mean 'task\.generation\.num_beams'\?"),
        ({"type": "summarization", "num_beams": 3}, r"it is called task\.generation\.num_beams"),
        ({"type": "text-classification", "problem": "regression"}, r"Did you mean 'task\.problem_type'\?"),
        ({"type": "text-classification", "generations": {}}, r"`headway recipe schema` lists all options"),
    ],
)
def test_an_unknown_option_of_the_task_gets_the_name_that_this_task_has(task: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe.from_dict({**SMALL, "task": task})


def test_what_is_no_task_is_named_beside_an_unknown_key() -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_dict({**SMALL, "task": 3, "trainning": {}})
    assert "task: " in str(caught.value)
    assert "Did you mean 'training'?" in str(caught.value)


def test_all_mistakes_are_named_at_once() -> None:
    content = {**SMALL, "optimization": {"learning_rate": -1}, "training": {"seeds": [1, 1], "save_steps": "often"}}
    with pytest.raises(RecipeError) as caught:
        Recipe.from_dict(content, source="mine.yaml")
    message = str(caught.value)
    assert message.startswith("mine.yaml: ")
    for part in ("optimization.learning_rate", "found -1", "training.save_steps", "found 'often'"):
        assert part in message


def test_a_missing_section_is_named() -> None:
    with pytest.raises(RecipeError, match=r"data: is missing"):
        Recipe.from_dict({"task": "text-classification"})
    with pytest.raises(RecipeError, match=r"task: is missing"):
        Recipe.from_dict({"data": {"train": "rows.csv"}})


def test_an_unknown_task_gets_the_right_name() -> None:
    with pytest.raises(RecipeError, match=r"task\.type: 'text-clasification' is not known\. Did you mean 'text-class"):
        Recipe.from_dict({**SMALL, "task": "text-clasification"})


def test_a_task_without_type() -> None:
    with pytest.raises(RecipeError, match=r"task\.type is missing"):
        Recipe.from_dict({**SMALL, "task": {"labels": ["a", "b"]}})


def test_a_task_of_the_users_own_beside_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(
        tmp_path,
        "from headway.tasks.text_classification import TextClassification\n"
        "class Shouting(TextClassification):\n"
        "    loudness: int = 1\n",
        name="my_shouting_task.py",
    )
    path = written(tmp_path, "task: {type: my_shouting_task.Shouting, loudness: 3}\ndata: {train: rows.csv}\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    try:
        recipe = Recipe.load(path)
        assert recipe.task.model_dump()["loudness"] == 3
        assert Recipe.from_dict(parse_yaml(recipe.to_yaml(), source="again")) == recipe
        with pytest.raises(RecipeError, match="loudnes: there is no such option"):
            Recipe.load(path, {"task.loudnes": 1})
    finally:
        sys.modules.pop("my_shouting_task", None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module.Task", r"there is no module 'no_such_module'"),
        ("headway.recipe.Recipe", r"must be a subclass of headway\.tasks\.base\.Task"),
        ("headway.recipe.Recipes", r"has no class 'Recipes'\. Did you mean 'Recipe'\?"),
    ],
)
def test_an_import_path_that_is_no_task(name: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe.from_dict({**SMALL, "task": {"type": name}})


# --- files and overrides ----------------------------------------------------------------------------------------------


def test_relative_paths_are_found_beside_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows.csv").write_text("text,label\na,b\n")
    path = written(tmp_path, "task: text-classification\ndata: {train: rows.csv, test: elsewhere.csv}\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(sys, "path", list(sys.path))
    data = Recipe.load(path).data
    assert data.train == str(tmp_path / "rows.csv")
    # What lies nowhere stays as it was written, so that the message later names it so.
    assert data.test == "elsewhere.csv"


def test_a_missing_recipe_gets_the_right_name(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"There is no recipe 'reviws'\. Did you mean 'reviews'\?"):
        find_recipe("reviws")
    with pytest.raises(RecipeError, match="is a folder, not a recipe"):
        find_recipe(tmp_path)


def test_a_recipe_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"task: \xff\xfe")
    with pytest.raises(RecipeError, match="cannot be read as UTF-8 text"):
        Recipe.load(path)


def test_overrides_in_both_forms() -> None:
    tokens = ["--training.seeds", "[1, 2]", "--optimization.learning-rate=1e-5", "--data.train", "a b.csv"]
    assert parse_overrides(tokens) == {
        "training.seeds": [1, 2],
        "optimization.learning_rate": 1e-5,
        "data.train": "a b.csv",
    }


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["seeds"], "'seeds' is not an option"),
        (["--training.seeds"], r"--training\.seeds needs a value"),
        (["--"], "'--' is not an option"),
        (["-lr", "3"], "'-lr' is not an option"),
    ],
)
def test_overrides_that_are_none(tokens: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_overrides(tokens)


def test_an_override_reaches_into_sections_that_are_not_there(tmp_path: Path) -> None:
    path = written(tmp_path, "task: text-classification\ndata: {train: rows.csv}\n")
    recipe = Recipe.load(path, {"data.columns.text": "review", "trainer.devices": 1, "training.max_steps": 7})
    assert recipe.data.columns == {"text": "review"}
    assert recipe.trainer == {"devices": 1}
    assert recipe.training.max_steps == 7


def test_reading_options_take_both_names() -> None:
    data = Recipe.from_dict(SMALL).data
    assert reading_options(data, {"delimiter": ";", "data.quoting": "none"}).delimiter == ";"
    with pytest.raises(RecipeError, match="there is no such option"):
        reading_options(data, {"data.delimeter": ";"})


# --- back to YAML -----------------------------------------------------------------------------------------------------

_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
_words = st.one_of(
    _texts,
    st.sampled_from(["no", "on", "010", "1e-5", "1e5", "null", "~", "true", "2024-01-31", "1:30", "=", "<<", "- a"]),
)
_recipes = st.fixed_dictionaries(
    {
        "task": st.fixed_dictionaries(
            {"type": st.just("text-classification")}, optional={"labels": st.lists(_words, unique=True, max_size=4)}
        ),
        "data": st.fixed_dictionaries(
            {"train": _words},
            optional={
                "validation": st.one_of(st.none(), _words, st.floats(0.01, 0.99)),
                "columns": st.dictionaries(_words, _words, max_size=3),
                "column_names": st.lists(_words, max_size=3),
                "label_names": st.dictionaries(_words, _words, max_size=3),
                "max_length": st.integers(2, 10**6),
            },
        ),
    },
    optional={
        "model": st.fixed_dictionaries({}, optional={"model_name_or_path": _words}),
        "optimization": st.fixed_dictionaries(
            {},
            optional={
                "learning_rate": st.floats(1e-300, 1e300),
                "class_weights": st.dictionaries(_words, st.floats(0, 1e6), max_size=3),
            },
        ),
        "training": st.fixed_dictionaries(
            {}, optional={"seeds": st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=3, unique=True)}
        ),
        "output_dir": st.one_of(st.none(), _words),
    },
)


@given(_recipes)
def test_yaml_and_back_is_the_same_recipe(content: dict[str, object]) -> None:
    recipe = Recipe.from_dict(content)
    text = recipe.to_yaml()
    assert Recipe.from_dict(parse_yaml(text, source="again")) == recipe
    # Another program with the older rules of YAML reads the same.
    assert yaml.safe_load(text) == parse_yaml(text, source="again")


def test_yaml_is_complete() -> None:
    content = parse_yaml(Recipe.from_dict(SMALL).to_yaml(), source="whole")
    assert set(content) == set(Recipe.model_fields)
    for name in option_names():
        section, _, option = name.partition(".")
        assert not option or option in content[section], name


def test_a_strategy_for_long_texts_that_a_task_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from headway.data.truncation import CUTS\nfrom headway.tasks.text_classification import TextClassification\n"
        "class Short(TextClassification):\n    truncations = CUTS\n"
        "class Joining(TextClassification):\n    joins_windows = True\n"
    )
    (tmp_path / "short_task.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    content = {"task": "short_task.Short", "data": {"train": "a.csv", "truncation": "window"}}
    with pytest.raises(RecipeError, match=r"short_task\.Short does not read .* 'window'\. Use one of head, tail,"):
        Recipe.from_dict(content)
    assert Recipe.from_dict({**content, "task": "text-classification"}).data.truncation == "window"
    content = {"task": "short_task.Joining", "data": {**content["data"], "window_pooling": "max"}}
    with pytest.raises(RecipeError, match=r"window_pooling: short_task\.Joining joins windows in its own way"):
        Recipe.from_dict(content)


def test_only_options_of_answers_may_differ_at_prediction() -> None:
    from headway.recipe import answering_options
    from headway.tasks.question_answering import QuestionAnswering
    from headway.tasks.summarization import Summarization

    task = Summarization(max_target_length=20)
    changed = answering_options(task, {"task.generation.num_beams": 4, "task.max_target_length": 9})
    assert isinstance(changed, Summarization)
    assert (changed.generation.num_beams, changed.max_target_length) == (4, 9)
    assert answering_options(task, {}) == task
    with pytest.raises(RecipeError, match=r"task\.source_prefix: a finished run of summarization cannot change it"):
        answering_options(task, {"task.source_prefix": "x"})
    with pytest.raises(RecipeError, match=r"Did you mean 'n_best'\?"):
        answering_options(QuestionAnswering(), {"task.nbest": 3})
    with pytest.raises(RecipeError, match="greater than or equal to 1"):
        answering_options(task, {"task.generation.num_beams": 0})
