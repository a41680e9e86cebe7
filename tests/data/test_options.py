from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from headway.data.options import DataOptions, Source


def test_a_split_reads_as_the_section_says_but_for_what_it_says_itself() -> None:
    options = DataOptions(
        train="train.tsv",
        validation=Source(path="val.tsv", column_names=["text", "label"]),
        test=Source(path="test.tsv", quoting="minimal", column_names=[]),
        quoting="none",
        columns={"text": "sentence"},
    )
    assert options.reading(options.train) == Source(path="train.tsv", quoting="none", columns={"text": "sentence"})
    assert isinstance(options.validation, Source)
    assert options.reading(options.validation).column_names == ["text", "label"]
    assert options.reading(options.validation).quoting == "none"
    assert isinstance(options.test, Source)
    assert options.reading(options.test).quoting == "minimal"


def test_a_saved_section_reads_back_equal() -> None:
    given = {
        "train": ["a.txt", "b.txt"],
        "validation": {"path": "hub:name/config[test]", "encoding": "cp1252"},
        "label_names": {0: "no", 1: "yes"},
        "columns": {"text": ["title", "body"]},
    }
    options = DataOptions.model_validate(given)
    assert options.label_names == {"0": "no", "1": "yes"}
    assert DataOptions.model_validate(options.model_dump(mode="json")) == options
    assert DataOptions.model_validate_json(options.model_dump_json()) == options


def test_paths_may_be_path_objects() -> None:
    options = DataOptions.model_validate({"train": Path("a.csv"), "test": [Path("a.txt"), "b.txt"]})
    assert (options.train, options.test) == ("a.csv", ["a.txt", "b.txt"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "Field required"),
        ({"train": 3.5}, "must be a path"),
        ({"train": 1}, "must be a path"),
        ({"train": "a.csv", "validation": 1.5}, "less than 1"),
        ({"train": "a.csv", "validation": 0}, "greater than 0"),
        ({"train": "a.csv", "validation": True}, "share of the training rows"),
        ({"train": {"path": "a.csv", "encodng": "utf-8"}}, "Extra inputs"),
        ({"train": "a.csv", "encoding": "utf-9"}, "not a text encoding"),
        ({"train": "a.csv", "encoding": "base64"}, "not a text encoding"),
        ({"train": "a.csv", "delimiter": ";;"}, "one character"),
        ({"train": "a.csv", "delimiter": '"'}, "neither a quote"),
        ({"train": "a.csv", "label_names": {True: "yes"}}, "in quotes"),
        ({"train": "a.csv", "label_names": {1.5: "yes"}}, "in quotes"),
        ({"train": "a.csv", "max_length": 1}, "greater than or equal to 2"),
        ({"train": "a.csv", "quoting": "all"}, "minimal"),
    ],
)
def test_wrong_values_are_refused_in_one_line(given: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DataOptions.model_validate(given)
    (problem,) = caught.value.errors()
    assert words in problem["msg"]


@pytest.mark.parametrize("typed", ["tab", "\\t", "\t"])
def test_a_tab_can_be_typed_in_a_shell(typed: str) -> None:
    assert DataOptions(train="a.txt", delimiter=typed).delimiter == "\t"


def test_relative_paths_are_looked_up_beside_the_recipe(tmp_path: Path) -> None:
    for name in ("train.csv", "names.txt", "a.txt", "b.txt"):
        (tmp_path / name).touch()
    (tmp_path / "saved").mkdir()
    options = DataOptions(
        train=["a.txt", "b.txt"],
        validation=Source(path="train.csv", label_names="names.txt"),
        test="hub:saved[test]",
        label_names="names.txt",
    ).relative_to(tmp_path)
    assert options.train == [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    assert isinstance(options.validation, Source)
    assert options.validation.path == str(tmp_path / "train.csv")
    assert options.validation.label_names == options.label_names == str(tmp_path / "names.txt")
    assert options.test == f"hub:{tmp_path / 'saved'}[test]"


def test_paths_that_are_nowhere_and_shares_stay_as_they_are(tmp_path: Path) -> None:
    options = DataOptions(train="nowhere.csv", validation=0.2, test="hub:owner/name[test]")
    assert options.relative_to(tmp_path) == options
