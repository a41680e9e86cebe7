from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headway.data.table import Table
from headway.errors import DataError

Read = Callable[..., Table]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Two splits with class labels, written by `save_to_disk`."""
    import datasets

    features = datasets.Features(
        {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    train = datasets.Dataset.from_dict({"sentence": ["a", "b"], "label": [1, 0]}, features=features)
    test = datasets.Dataset.from_dict({"sentence": ["c"], "label": [-1]}, features=features)
    datasets.DatasetDict({"train": train, "test": test}).save_to_disk(tmp_path / "saved")
    train.save_to_disk(tmp_path / "one")
    return tmp_path


def test_class_ids_become_names(saved: Path, read: Read) -> None:
    table = read(source=f"hub:{saved}/saved[train]", columns={"text": "sentence"})
    assert list(table) == [{"text": "a", "label": "yes"}, {"text": "b", "label": "no"}]
    assert table.where(1) == f"hub:{saved}/saved[train], row 2"
    assert list(read(source=f"hub:{saved}/one", columns={"text": "sentence"})) == list(table)


def test_a_label_that_is_kept_back_is_missing(saved: Path, read: Read) -> None:
    with pytest.raises(DataError, match="row 1: column 'label': the label is missing"):
        read(source=f"hub:{saved}/saved[test]", columns={"text": "sentence"})
    assert len(read(source=f"hub:{saved}/saved[test]", columns={"text": "sentence"}, need_gold=False)) == 1


def test_the_split_must_be_named_and_exist(saved: Path, read: Read) -> None:
    with pytest.raises(DataError, match=r"one of the splits train, test, as in .*\[train\]"):
        read(source=f"hub:{saved}/saved")
    with pytest.raises(DataError, match=r"no split 'tests'\. Did you mean 'test'"):
        read(source=f"hub:{saved}/saved[tests]")


def test_lists_of_class_ids_become_lists_of_names(tmp_path: Path, read: Read) -> None:
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.List(datasets.ClassLabel(names=["joy", "fear"]))}
    )
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [[1, 0], []]}, features=features)
    rows.save_to_disk(tmp_path / "many")
    assert read(source=f"hub:{tmp_path}/many").column("label") == [["fear", "joy"], []]


@pytest.mark.parametrize("end", ["csv", "parquet"])
def test_a_folder_of_files_is_read_afresh_each_time(end: str, tmp_path: Path, read: Read) -> None:
    import datasets

    for label in ("x", "y"):
        rows = datasets.Dataset.from_dict({"text": ["a"], "label": [label]})
        write: Any = rows.to_csv if end == "csv" else rows.to_parquet
        write(str(tmp_path / f"train.{end}"))
        assert read(source=f"hub:{tmp_path}[train]").column("label") == [label]


def test_a_dot_reaches_into_a_mapping(tmp_path: Path, read: Read) -> None:
    import datasets

    features = datasets.Features(
        {
            "translation": datasets.Translation(languages=["en", "ro"]),
            "about": {"kind": datasets.ClassLabel(names=["old", "new"])},
            "v.1": datasets.Value("string"),
        }
    )
    rows = [{"en": "yes", "ro": "da"}, {"en": "no", "ro": "nu"}]
    dataset = datasets.Dataset.from_dict(
        {"translation": rows, "about": [{"kind": 1}, {"kind": 0}], "v.1": ["a", "b"]}, features=features
    )
    dataset.save_to_disk(tmp_path / "pairs")
    columns = {"text": "translation.en", "text_pair": "translation.ro", "label": "about.kind"}
    assert list(read(source=f"hub:{tmp_path}/pairs", columns=columns)) == [
        {"text": "yes", "text_pair": "da", "label": "new"},
        {"text": "no", "text_pair": "nu", "label": "old"},
    ]
    # A dot may also be part of a column's own name.
    columns = {"text": "v.1", "label": "v.1"}
    assert read(source=f"hub:{tmp_path}/pairs", columns=columns).column("text") == ["a", "b"]
    with pytest.raises(DataError, match=r"no column 'translation\.de'[\s\S]*'translation\.en'"):
        read(source=f"hub:{tmp_path}/pairs", columns={"text": "translation.de", "label": "v.1"})


def test_a_missing_column_is_named(saved: Path, read: Read) -> None:
    with pytest.raises(DataError, match=r"no column 'text'[\s\S]*'sentence', 'label'"):
        read(source=f"hub:{saved}/saved[train]")


@pytest.mark.parametrize("name", ["/nowhere", "./nowhere", "a/b/c/d", "[train]"])
def test_an_address_that_leads_nowhere_is_refused_without_the_network(name: str, read: Read) -> None:
    with pytest.raises(DataError, match=r"no such folder|is not an address"):
        read(source=f"hub:{name}")


def test_a_hub_that_cannot_be_reached_is_one_line(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def refuse(*names: str, split: str | None) -> Any:
        raise ConnectionError(f"cannot\nreach {names}")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(DataError) as caught:
        read(source="hub:owner/name/config[train]")
    message = str(caught.value)
    assert message.startswith("hub:owner/name/config: the data set cannot be loaded (ConnectionError: cannot reach")
    assert "\n" not in message


def test_two_words_are_an_owner_and_a_name_or_a_name_and_a_configuration(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    asked = []

    def load(*names: str, split: str | None) -> Any:
        asked.append(names)
        if names != ("name", "config"):
            raise datasets.exceptions.DatasetNotFoundError("not found")
        return datasets.Dataset.from_dict({"text": ["a"], "label": ["x"]})

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert len(read(source="hub:name/config[train]")) == 1
    assert asked == [("name/config",), ("name", "config")]
