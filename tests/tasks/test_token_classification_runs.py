"""Token classification from files to runs: other ways to write tags, other tools that read the run, real data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tasks.test_token_classification import NER, SENTENCES
from transformers import AutoModelForTokenClassification, pipeline

from headway.data.options import DataOptions
from headway.data.table import Table
from headway.errors import DataError
from headway.inference import Inference
from headway.models.backbone import load_backbone
from headway.models.options import ModelOptions
from headway.predictor import Predictor
from headway.preparation import check_recipe
from headway.recipe import Recipe
from headway.report.html import write_report
from headway.train import train


def test_rows_of_the_hub_have_class_names(tmp_path: Path) -> None:
    import datasets

    names = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]
    features = datasets.Features({
        "id": datasets.Value("string"),
        "tokens": datasets.List(datasets.Value("string")),
        "ner_tags": datasets.List(datasets.ClassLabel(names=names)),
    })  # fmt: skip
    rows = {"id": ["0", "1"], "tokens": [["Rita", "Holm", "sang"], ["Oslo"]], "ner_tags": [[1, 2, 0], [5]]}
    saved = datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features=features)})
    saved.save_to_disk(tmp_path / "hub")
    recipe = Recipe.load("conll2003", {"data.train": f"hub:{tmp_path / 'hub'}[train]"})
    table = Table.read(recipe.data.train, options=recipe.data, columns=recipe.task.columns, need_gold=True)
    assert table[0] == {"tokens": ["Rita", "Holm", "sang"], "tags": ["B-PER", "I-PER", "O"]}
    assert recipe.task.resolve(table).labels == ("O", "B-LOC", "B-PER", "I-LOC", "I-PER")


def test_rows_of_json_may_name_codes_and_several_tags(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"tokens": ["a", "b"], "tags": [0, 1]}\n{"tokens": ["c"], "tags": [0]}\n', encoding="utf-8")
    options = DataOptions(train=str(path), label_names={"0": "O", "1": "B-x"})
    table = Table.read(options.train, options=options, columns=NER.columns, need_gold=True)
    assert [row["tags"] for row in table] == [["O", "B-x"], ["O"]]
    path.write_text('{"tokens": ["a", "b"], "tags": ["O", "B-x|B-y"]}\n', encoding="utf-8")
    options = DataOptions(train=str(path))
    with pytest.raises(DataError, match=r"column 'tags', tag 2: the token has several tags \('B-x\|B-y'\)"):
        Table.read(options.train, options=options, columns=NER.columns, need_gold=True)


def test_parallel_files_with_double_blanks_align(tmp_path: Path) -> None:
    (tmp_path / "seq.in").write_text("play  the sea \nstop\n", encoding="utf-8")
    (tmp_path / "seq.out").write_text("O O  B-track\n O \n", encoding="utf-8")
    options = DataOptions(
        train=[str(tmp_path / name) for name in ("seq.in", "seq.out")], format="lines", column_names=["tokens", "tags"]
    )
    table = Table.read(options.train, options=options, columns=NER.columns, need_gold=True)
    assert [(row["tokens"], row["tags"]) for row in table] == [
        (["play", "the", "sea"], ["O", "O", "B-track"]),
        (["stop"], ["O"]),
    ]


@pytest.fixture(scope="module")
def run(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ner")
    content = "\n\n".join(
        "\n".join(f"{word}\t{tag}" for word, tag in zip(text.split(), tags.split(), strict=True))
        for text, tags in SENTENCES * 3
    )
    (folder / "rows.conll").write_text(content, encoding="utf-8")
    recipe = {
        "task": "token-classification",
        "data": {"train": str(folder / "rows.conll"), "validation": str(folder / "rows.conll"), "max_length": 16},
        "model": {"model_name_or_path": str(tiny_bert)},
        "optimization": {"learning_rate": 5e-3, "warmup_ratio": 0.1},
        "training": {"num_train_epochs": 12, "per_device_train_batch_size": 8, "bf16": False},
    }
    metrics = train(Recipe.from_dict(recipe), output_dir=folder / "run")
    assert metrics["metrics"]["validation"]["f1"]["value"] > 0.9
    return folder / "run"


def test_the_folder_of_a_run_is_read_by_transformers(run: Path) -> None:
    model = AutoModelForTokenClassification.from_pretrained(run / "model")
    predictor = Predictor.load(run)
    inference: Inference = predictor.inference
    row = {"tokens": "the old man came to sun street".split()}  # noqa: SIM905
    batch = inference.task.collate(list(inference.encode([row])), predictor.tokenizer)
    with torch.inference_mode():
        theirs, ours = model.eval()(**batch.inputs).logits, inference.model(**batch.inputs).logits
    assert torch.allclose(theirs, ours, atol=1e-5)
    assert model.config.id2label[0] == "O"
    tagger = pipeline("token-classification", model=str(run / "model"), aggregation_strategy="first", device="cpu")
    text = " ".join(row["tokens"])
    found = [(one["start"], one["end"], one["entity_group"]) for one in tagger(text)]
    value = predictor.predict(text).value
    assert [(one["start"], one["end"], one["label"]) for one in value] == found
    assert found


def test_the_report_shows_types_and_what_became_of_the_entities(run: Path) -> None:
    page = write_report(run).read_text(encoding="utf-8")
    for shown in ("What became of the entities", "exactly right", "PER", "LOC"):
        assert shown in page


def test_a_row_of_tokens_or_a_text_is_predicted(run: Path) -> None:
    predictor = Predictor.load(run)
    assert len(predictor.predict({"tokens": ["old", "man"]}).detail["tags"]) == 2
    assert predictor.predict("").value == []
    with pytest.raises(DataError, match="A row needs 'tokens' or 'text'"):
        predictor.predict({})


# --- real data --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_conll2003_beats_the_words(shared_data: Path, tmp_path: Path) -> None:
    lines = (shared_data / "conll2003" / "dev.txt").read_text(encoding="utf-8").split("\n\n")
    (tmp_path / "train.conll").write_text("\n\n".join(lines[:1500]), encoding="utf-8")
    (tmp_path / "test.conll").write_text("\n\n".join(lines[1500:2200]), encoding="utf-8")
    options = {
        "model.model_name_or_path": "minilm",
        "data.train": str(tmp_path / "train.conll"),
        "data.validation": str(tmp_path / "test.conll"),
        "data.test": None,
        "data.columns": None,
        "optimization.learning_rate": 2e-4,
        "training.num_train_epochs": 2,
        "training.per_device_train_batch_size": 16,
    }
    metrics = train(Recipe.load("conll2003", options), output_dir=tmp_path / "run")
    f1 = metrics["metrics"]["validation"]["f1"]["value"]
    words = metrics["baselines"]["majority_of_word"]["validation"]["f1"]["value"]
    assert f1 > words + 0.05, (f1, words)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wnut17", "snips"])
def test_the_recipe_reads_the_local_files(name: str, shared_data: Path) -> None:
    local: dict[str, dict[str, Any]] = {
        "wnut17": {
            "data.train": str(shared_data / "wnut17/wnut17train.conll"),
            "data.validation": str(shared_data / "wnut17/emerging.dev.conll"),
            "data.test": str(shared_data / "wnut17/emerging.test.conll"),
        },
        "snips": {
            "data.train": [str(shared_data / "snips/train" / one) for one in ("seq.in.gz", "seq.out.gz")],
            "data.validation": [str(shared_data / "snips/valid" / one) for one in ("seq.in", "seq.out")],
            "data.test": [str(shared_data / "snips/test" / one) for one in ("seq.in", "seq.out")],
        },
    }
    recipe = Recipe.load(name, {"model.model_name_or_path": "minilm", **local[name]})
    rows, report = check_recipe(recipe, load_backbone(ModelOptions()).tokenizer)
    assert tuple(rows.values()) == {"wnut17": (3394, 1009, 1287), "snips": (13084, 700, 700)}[name]
    assert report.problems == ()
