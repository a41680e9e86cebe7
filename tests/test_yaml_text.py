"""YAML by the rules of version 1.2, and the messages for what is none."""

import math

import pytest

from headway.errors import RecipeError
from headway.yaml_text import parse_value, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("y", "y"),
        ("010", 10),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2024-01-31", "2024-01-31"),
        ("1e-5", 1e-5),
        ("5E3", 5000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'no'", "no"),
        ("|", "|"),
        ("::", "::"),
        ("#1 String", "#1 String"),
        ("- one", "- one"),
        ("[no, 1e-5]", ["no", 1e-5]),
    ],
)
def test_values_follow_yaml_1_2(text: str, value: object) -> None:
    found = parse_value(text)
    assert found == value
    assert type(found) is type(value)


def test_a_key_stands_once() -> None:
    with pytest.raises(RecipeError, match=r"here\.yaml, line 3, column 3: .*the key 'train' stands twice"):
        parse_yaml("data:\n  train: a.csv\n  train: b.csv\n", source="here.yaml")


def test_broken_yaml_names_line_and_column() -> None:
    with pytest.raises(RecipeError, match=r"here\.yaml, line 2, column \d+: not valid YAML"):
        parse_yaml("task: x\n data: [\n", source="here.yaml")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "only words", "3"])
def test_a_recipe_is_a_mapping(text: str) -> None:
    with pytest.raises(RecipeError, match="a recipe is a mapping of sections"):
        parse_yaml(text, source="here.yaml")


def test_no_python_object_is_made() -> None:
    with pytest.raises(RecipeError, match="not valid YAML"):
        parse_yaml("task: !!python/object/apply:os.getcwd []", source="here.yaml")


def test_deep_nesting_is_a_message() -> None:
    with pytest.raises(RecipeError, match=r"not usable as YAML|not valid YAML"):
        parse_yaml("a: " + "[" * 5000 + "]" * 5000, source="here.yaml")
