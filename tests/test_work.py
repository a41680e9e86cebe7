"""What a seed begins with: models drawn from the seed alone, and the vectors of a frozen backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.test_train import recipe_for

from headway.errors import RecipeError
from headway.models.backbone import load_backbone
from headway.preparation import prepare, read_tables
from headway.recipe import Recipe
from headway.training.stopping import StopRequest
from headway.work import Part, Work, build, encoded_once, load_teacher


def work_of(content: dict[str, Any]) -> Work:
    recipe = Recipe.from_dict(content)
    backbone = load_backbone(recipe.model)
    parts = tuple(
        Part(name, one, prepare(one, read_tables(one), backbone.tokenizer)) for name, one in recipe.parts().items()
    )
    return Work(recipe, parts, backbone, StopRequest(), "headway train --resume")


@pytest.fixture
def content(reviews_csv: Path, tiny_bert: Path) -> dict[str, Any]:
    return recipe_for(reviews_csv, tiny_bert)


def head_of(work: Work, seed: int) -> torch.Tensor:
    model: Any = build(work, seed)[0].inference.model
    return model.classifier.weight


def test_a_head_is_a_function_of_the_seed_and_of_no_other_task(content: dict[str, Any]) -> None:
    work = work_of(content)
    assert torch.equal(head_of(work, 0), head_of(work, 0))
    assert not torch.equal(head_of(work, 0), head_of(work, 1))
    beside = {"task": "text-classification", "data": content["data"]}
    several = work_of({**content, "multi_task": {"tasks": {"again": beside}}})
    assert torch.equal(head_of(work, 0), head_of(several, 0))
    assert len(build(several, 0)) == 2


def test_only_a_frozen_backbone_is_asked_once(content: dict[str, Any]) -> None:
    work = work_of(content)
    assert encoded_once(work) is work
    content["model"] |= {"freeze": "all", "head": "linear"}
    (part,) = encoded_once(work_of(content)).parts
    assert part.prepared.features["train"][0].vectors is not None
    content["model"]["encode_once"] = False
    (part,) = encoded_once(work_of(content)).parts
    assert part.prepared.features["train"][0].vectors is None


def test_a_teacher_reads_the_same_tokens(
    content: dict[str, Any], finished_run: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    assert load_teacher(Recipe.from_dict(content), load_backbone(Recipe.from_dict(content).model)) is None
    content["optimization"]["distillation"] = {"teacher": str(finished_run)}
    content["task"] = {
        "type": "text-classification",
        "labels": ["bad", "good"],
        "problem_type": "single_label_classification",
    }
    recipe = Recipe.from_dict(content)
    assert load_teacher(recipe, load_backbone(recipe.model)) is not None
    other = tmp_path / "other"
    other.mkdir()
    for file in tiny_bert.iterdir():
        text = file.read_bytes()
        (other / file.name).write_bytes(text.replace(b"lovely", b"lively") if b"lovely" in text[: 10**6] else text)
    changed = Recipe.from_dict({**content, "model": {"model_name_or_path": str(other)}})
    with pytest.raises(RecipeError, match="reads other tokens"):
        load_teacher(changed, load_backbone(changed.model))
