from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headway.data.table import Table
from headway.errors import RecipeError
from headway.manifest import check_fingerprint, data_record, machine, model_record, versions
from headway.models.backbone import Backbone, load_backbone
from headway.models.options import ModelOptions
from headway.recipe import Recipe
from headway.run_dir import RunDir

CONTENT: dict[str, Any] = {
    "task": {"type": "text-classification", "labels": ["bad", "good"]},
    "data": {"train": "a.csv"},
    "training": {"save_steps": 5},
    "output_dir": "here",
}


@pytest.fixture(scope="module")
def backbone(tiny_bert: Path) -> Backbone:
    return load_backbone(ModelOptions(model_name_or_path=str(tiny_bert)))


def tables(text: str = "a") -> dict[str, Table]:
    return {"train": Table.from_rows([{"text": text, "label": "good"}], name="a.csv")}


def check(folder: Path, backbone: Backbone, *, text: str = "a", world_size: int = 1, **sections: Any) -> None:
    content = {**CONTENT, **{name: {**CONTENT.get(name, {}), **one} for name, one in sections.items()}}
    check_fingerprint(RunDir(folder), Recipe.from_dict(content), tables(text), backbone, world_size=world_size)


def test_the_same_again_is_accepted(tmp_path: Path, backbone: Backbone) -> None:
    check(tmp_path, backbone)
    before = (tmp_path / "fingerprint.json").read_text()
    check(tmp_path, backbone)
    # What changes neither the weights nor the order of the rows may change.
    check(tmp_path, backbone, training={"save_steps": 7, "logging_steps": 3, "per_device_eval_batch_size": 2})
    assert (tmp_path / "fingerprint.json").read_text() == before


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"optimization": {"learning_rate": 1e-4}}, "recipe.optimization.learning_rate: 5e-05 -> 0.0001"),
        ({"training": {"seeds": [0, 1]}}, r"recipe.training.seeds: [0] -> [0, 1]"),
        ({"task": {"labels": ["good", "bad"]}}, r"recipe.task.labels: ['bad', 'good'] -> ['good', 'bad']"),
        ({"data": {"max_length": 32}}, "recipe.data.max_length: 128 -> 32"),
        ({"trainer": {"accelerator": "cpu"}}, "recipe.trainer.accelerator: absent -> cpu"),
        ({"text": "b"}, "data.train: "),
        ({"world_size": 2}, "world_size: 1 -> 2"),
    ],
)
def test_a_change_is_named(tmp_path: Path, backbone: Backbone, change: dict[str, Any], line: str) -> None:
    check(tmp_path, backbone)
    with pytest.raises(RecipeError) as refused:
        check(tmp_path, backbone, **change)
    assert line in str(refused.value)
    assert str(refused.value).count(" -> ") == 1


def test_other_weights_and_another_version_are_named(tmp_path: Path, backbone: Backbone) -> None:
    check(tmp_path, backbone)
    path = tmp_path / "fingerprint.json"
    content = json.loads(path.read_text())
    content["model"] = "0" * 64
    content["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(content))
    with pytest.raises(RecipeError, match=r"(?s)model: 0000.*versions\.torch: 1\.0 -> "):
        check(tmp_path, backbone)


def test_what_is_recorded(backbone: Backbone) -> None:
    assert {"headway", "python", "torch", "transformers", "lightning"} <= versions().keys()
    assert machine()["cpus"] >= 1
    assert data_record(tables())["train"] == {
        "source": "a.csv",
        "rows": 1,
        "fingerprint": tables()["train"].fingerprint,
    }
    model = backbone.build("sequence-classification", num_labels=2).model
    for parameter in model.base_model.parameters():
        parameter.requires_grad = False
    record = model_record(backbone, model)
    assert record["trainable_parameters"] == 2 * 32 + 2
    assert record["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert record["sha256"] == backbone.sha256
