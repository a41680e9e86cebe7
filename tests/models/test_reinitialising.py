from __future__ import annotations

from typing import Any

import pytest
import torch

from headway.errors import RecipeError
from headway.models.backbone import load_backbone
from headway.models.options import ModelOptions


def build(folder: Any, seed: int = 0, **options: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    chosen = ModelOptions(model_name_or_path=str(folder), **options)
    built = load_backbone(chosen).build("sequence-classification", labels=("a", "b"), num_labels=2)
    return dict(built.model.named_parameters())


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "modernbert", "deberta-v2"])
def test_the_top_layers_and_the_pooler_are_drawn_anew(family: str, tiny_folders: Any) -> None:
    kept, fresh = build(tiny_folders(family)), build(tiny_folders(family), reinit_layers=1)
    assert kept.keys() == fresh.keys()
    body = {name for name in kept if not name.startswith(("classifier", "pre_classifier", "head"))}
    # Biases and normalisation start at constants, which tiny random models still have.
    changed = {name for name in body if not torch.equal(kept[name], fresh[name])}
    assert changed
    assert all(".1." in name or "pooler" in name for name in changed)
    weights = {name for name in body if ".1." in name and kept[name].dim() == 2}
    assert weights <= changed
    for name in changed:
        assert 0.01 < fresh[name].std() < 0.03  # as the family draws it


def test_what_is_drawn_follows_the_seed(tiny_folders: Any) -> None:
    name = "bert.encoder.layer.1.output.dense.weight"
    draws = [build(tiny_folders("bert"), seed, reinit_layers=1)[name] for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("bert", {"reinit_layers": 3}, "the model has 2 layers"),
        ("albert", {"reinit_layers": 1}, "share their weights.*Set it to 0"),
        ("bert", {"reinit_layers": 1, "freeze": "all"}, "must be trained"),
        ("bert", {"reinit_layers": 1, "adapter": "lora"}, "must be trained"),
    ],
)
def test_what_does_not_suit_is_explained(family: str, options: Any, message: str, tiny_folders: Any) -> None:
    with pytest.raises(RecipeError, match=message):
        build(tiny_folders(family), **options)
