"""`headway recipe`: the schema covers every option with its words, and a printed recipe is the recipe."""

import json
from typing import Any

import pytest

from headway.cli.app import run
from headway.recipe import TASKS, Recipe, option_names
from headway.yaml_text import parse_yaml


@pytest.fixture
def schema(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run(["recipe", "schema"]) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_schema_has_every_option_with_its_words(schema: dict[str, Any]) -> None:
    for name in option_names():
        section, _, option = name.partition(".")
        place = schema["properties"][section]
        assert place["description"], section
        if option:
            properties = schema["$defs"][place["$ref"].rpartition("/")[2]]["properties"]
            assert properties[option]["description"], name


def test_schema_has_the_options_of_every_task(schema: dict[str, Any]) -> None:
    forms = schema["properties"]["task"]["anyOf"]
    assert forms[0]["enum"] == list(TASKS)
    names = [form["$ref"].rpartition("/")[2] for form in forms if "$ref" in form]
    tasks = [schema["$defs"][name] for name in names]
    assert [task["properties"]["type"]["const"] for task in tasks] == list(TASKS)
    for task in tasks:
        assert task["required"] == ["type"]
        assert task["additionalProperties"] is False
    assert tasks[0]["properties"]["threshold"]["description"]
    assert "Task" not in schema["$defs"]


def test_every_reference_of_the_schema_leads_somewhere(schema: dict[str, Any]) -> None:
    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [one for part in value.values() for one in references(part)]
        return [one for part in value for one in references(part)] if isinstance(value, list) else []

    found = references(schema)
    assert found
    assert {name.removeprefix("#/$defs/") for name in found} <= set(schema["$defs"])


def test_print_gives_the_recipe_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipe", "print", "reviews", "--optimization.learning-rate", "1e-3", "--training.seeds=[4, 5]"]) == 0
    printed = Recipe.from_dict(parse_yaml(capsys.readouterr().out, source="printed"))
    assert printed == Recipe.load("reviews", {"optimization.learning_rate": 1e-3, "training.seeds": [4, 5]})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reviws"], "Did you mean 'reviews'?"),
        (["reviews", "--training.lr", "1"], "optimization.learning_rate"),
        (["reviews", "--training.seeds"], "needs a value"),
        (["reviews", "more"], "'more' is not an option"),
    ],
)
def test_a_mistake_is_a_message(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipe", "print", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
