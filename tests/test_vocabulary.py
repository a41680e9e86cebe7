from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from tests.data.test_vocabulary import corpus
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from headway import vocabulary as module
from headway.errors import DataError, RecipeError, RunBusyError, WriteError
from headway.models.new_model import ModelSize
from headway.vocabulary import build_vocabulary, read_texts

SIZE = ModelSize(num_layers=1, d_model=16, num_heads=2, ffn_dim=32, max_length=12)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two files of lines, one of them packed, whose names tell no format."""
    folder = tmp_path_factory.mktemp("texts")
    made = corpus()
    (folder / "train.en").write_text("\n".join(made[::2]) + "\n", encoding="utf-8")
    with gzip.open(folder / "train.de.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(made[1::2]) + "\n\n")
    return [str(folder / "train.de.gz"), str(folder / "train.en")]


def build(texts: list[str], output: Path, **options: Any) -> dict[str, Any]:
    return build_vocabulary(texts, output, **{"vocab_size": 500, "size": SIZE, **options})


def test_the_folder_is_a_model_and_says_how_it_was_made(texts: list[str], tmp_path: Path) -> None:
    made = build(texts, tmp_path / "de-en")
    assert {path.name for path in (tmp_path / "de-en").iterdir()} == {
        "README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json", "vocabulary.json",
    }  # fmt: skip
    assert json.loads((tmp_path / "de-en" / "vocabulary.json").read_text()) == made
    assert made["texts"] == 400
    assert [one["rows"] for one in made["files"]] == [200, 200]
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "de-en")
    assert made["parameters"] == model.num_parameters()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "de-en")
    lengths = [len(tokenizer(text)["input_ids"]) for text in corpus()]
    assert made["tokens_per_text"] == pytest.approx(sum(lengths) / 400, abs=0.01)
    assert made["longest_text"] == max(lengths)
    assert made["texts_over_max_length"] == sum(length > 12 for length in lengths) > 0
    page = (tmp_path / "de-en" / "README.md").read_text(encoding="utf-8")
    assert f"{made['parameters']:,} parameters" in page
    assert "train.de.gz: 200 rows" in page
    assert [path.name for path in tmp_path.iterdir()] == ["de-en"]


def test_the_same_files_give_the_same_bytes(texts: list[str], tmp_path: Path) -> None:
    for name in ("one", "two"):
        build(texts, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_columns_of_a_table_stand_beside_plain_text(texts: list[str], tmp_path: Path) -> None:
    table = tmp_path / "pairs.tsv"
    table.write_text("de\ten\tnumber\nein Hund\ta dog\t1\nzwei Hunde\ttwo dogs\t2\n")
    found = read_texts([texts[0], str(table)], columns=["de", "en"])
    assert [one.column_names for one in found] == [["text"], ["de", "en"]]
    assert found[1].column("en") == ["a dog", "two dogs"]
    with pytest.raises(DataError, match=r"no column 'source'.*\n.*no column 'target'"):
        read_texts([str(table)])
    table.write_text("source\ttarget\nein Hund\ta dog\n")
    assert read_texts([str(table)])[0].column("target") == ["a dog"]


def test_reading_options_hold_for_every_file(tmp_path: Path) -> None:
    (tmp_path / "old.de").write_bytes("Tür\n\nHäuser\n".encode("cp1252"))
    (found,) = read_texts([str(tmp_path / "old.de")], reading={"data.encoding": "cp1252"})
    assert found.column("text") == ["Tür", "Häuser"]
    with pytest.raises(DataError, match="is not utf-8 text"):
        read_texts([str(tmp_path / "old.de")])


def test_a_folder_of_text_files_is_read_line_by_line(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(f"{name} one\n{name} two\n")
    (found,) = read_texts([str(tmp_path)])
    assert sorted(found.column("text")) == ["a one", "a two", "b one", "b two"]


def test_what_cannot_be_read(texts: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no file"):
        read_texts([str(tmp_path / "nowhere.de")])
    (tmp_path / "blank.de").write_text("\n \n")
    with pytest.raises(DataError, match="holds no text"):
        read_texts([str(tmp_path / "blank.de")])
    with pytest.raises(RecipeError, match="the files are plain text"):
        read_texts(texts, columns=["de"])


def test_only_a_folder_of_its_own_is_replaced(texts: list[str], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    build(texts, empty)
    before = (empty / "model.safetensors").read_bytes()
    with pytest.raises(RunBusyError, match="exists and is not empty"):
        build(texts, empty)
    build(texts, empty, seed=1, overwrite=True)
    assert (empty / "model.safetensors").read_bytes() != before
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(RunBusyError, match="--overwrite leaves it alone"):
        build(texts, other, overwrite=True)
    assert (other / "thesis.txt").read_text() == "years of work"
    with pytest.raises(RunBusyError, match="is a file"):
        build(texts, other / "thesis.txt", overwrite=True)


def test_a_write_that_fails_leaves_what_was_there(
    texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(texts, tmp_path / "de-en")
    before = (tmp_path / "de-en" / "model.safetensors").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_text", full)
    with pytest.raises(WriteError, match="No space left"):
        build(texts, tmp_path / "de-en", seed=1, overwrite=True)
    assert (tmp_path / "de-en" / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["de-en"]
