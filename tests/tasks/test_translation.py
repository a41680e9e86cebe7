from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headway.errors import RecipeError
from headway.models.backbone import load_backbone
from headway.models.options import ModelOptions
from headway.tasks.generation import written
from headway.tasks.translation import Translation
from headway.types import Row

ROWS: list[Row] = [
    {"source": source, "target": [target]}
    for source, target in (
        ("the dog is red", "red is the dog"), ("a cat is old", "old is a cat"),
        ("my house is small", "small is my house"),
        ("we are very happy", "happy very we are"), ("they are so sad", "sad so they are"),
        ("the sun is bright", "bright is the sun"), ("a train is slow", "slow is a train"),
        ("the book is new", "new is the book"),
    )
]  # fmt: skip
CASES: dict[str, tuple[dict[str, Any], list[Row]]] = {
    "two languages": ({"max_target_length": 10}, ROWS),
    "letters count as words": ({"max_target_length": 10, "bleu_tokenize": "char"}, ROWS),
}


def test_the_source_itself_is_the_baseline() -> None:
    rows = [{"source": " Anna, 12 ", "target": ["Anna, 12"]}]
    found = Translation().baselines(rows, rows, seed=0)
    assert found == {"copy_source": [written("Anna, 12")]}
    assert Translation().evaluate(found["copy_source"], rows)["chrf"] == pytest.approx(100)


def test_a_first_token_is_forced(tiny_bert: Path) -> None:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert)))
    model: Any = Translation(forced_bos_token="dog").build_model(backbone)
    assert model.generation_config.forced_bos_token_id == backbone.tokenizer.convert_tokens_to_ids("dog")
    with pytest.raises(RecipeError, match=r"task.forced_bos_token: the model has no token 'ro_RO'"):
        Translation(forced_bos_token="ro_RO").build_model(backbone)


def test_the_signature_names_the_tokenizer() -> None:
    tables = Translation(bleu_tokenize="char").details([written("a b")], [{"source": "x", "target": ["a b"]}])["tables"]
    assert "tok:char" in dict(tables[0]["rows"])["signature of bleu"]
