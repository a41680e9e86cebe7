from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from headway.errors import RecipeError
from headway.models.adapters import has_adapter, save_and_merge
from headway.models.backbone import load_backbone
from headway.models.heads import HeadedModel
from headway.models.options import ModelOptions

INPUTS = {"input_ids": torch.tensor([[2, 9, 10, 3], [2, 31, 32, 3]]), "attention_mask": torch.ones(2, 4).long()}
LABELS = ("no", "yes", "maybe")


def build(folder: Path, kind: str = "sequence-classification", **options: Any) -> nn.Module:
    torch.manual_seed(0)
    chosen = ModelOptions(model_name_or_path=str(folder), **options)
    return load_backbone(chosen).build(kind, labels=LABELS, num_labels=3).model


def trained(folder: Path, kind: str = "sequence-classification", **options: Any) -> nn.Module:
    """Return a model after a few steps."""
    model = build(folder, kind, **options)
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=0.05)
    for _ in range(5):
        optimizer.zero_grad()
        logits = model(**INPUTS)["logits"]
        nn.functional.cross_entropy(logits.flatten(0, -2), torch.ones(logits.shape[:-1]).long().flatten()).backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "modernbert", "deberta-v2"])
@pytest.mark.parametrize("adapter", ["lora", "dora", "ia3"])
def test_only_the_adapter_and_the_head_are_trained(family: str, adapter: str, tiny_folders: Any) -> None:
    chosen: Any = adapter
    if adapter == "ia3" and family in ("distilbert", "modernbert"):
        with pytest.raises(RecipeError, match=r"does not know where \(IA\)3 goes in"):
            build(tiny_folders(family), adapter=adapter)
        return
    model = build(tiny_folders(family), adapter=chosen)
    moved = {name for name, one in model.named_parameters() if one.requires_grad}
    assert moved
    assert all(".default" in name or not name.startswith(f"{model.base_model_prefix}.") or ".pooler." in name
               for name in moved)  # fmt: skip
    head = {name for name, one in model.named_parameters() if not name.startswith(f"{model.base_model_prefix}.")}
    assert head <= moved
    assert not any(".default" in name for name in head)


# peft itself asks transformers by a name that version 6 will drop.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("adapter", ["lora", "dora", "ia3"])
@pytest.mark.parametrize("kind", ["sequence-classification", "token-classification"])
def test_peft_loads_what_is_saved_and_the_merged_model_says_the_same(
    adapter: str, kind: str, tiny_folders: Any, tmp_path: Path
) -> None:
    from peft import PeftModel

    folder = tiny_folders("bert")
    before = {name: one.clone() for name, one in build(folder, kind).state_dict().items()}
    model = trained(folder, kind, adapter=adapter)
    expected = model(**INPUTS)["logits"]
    assert has_adapter(model)
    save_and_merge(model, tmp_path / "adapter")
    assert not has_adapter(model)
    assert model.state_dict().keys() == before.keys()
    merged = model(**INPUTS)["logits"]
    torch.testing.assert_close(merged, expected, rtol=1e-4, atol=1e-5)

    auto = {"sequence-classification": AutoModelForSequenceClassification,
            "token-classification": AutoModelForTokenClassification}[kind]  # fmt: skip
    torch.manual_seed(1)  # another head than ours, to be replaced by the saved one
    plain = auto.from_pretrained(folder, num_labels=3)
    theirs = PeftModel.from_pretrained(plain, str(tmp_path / "adapter")).eval()
    torch.testing.assert_close(theirs(**INPUTS).logits, expected, rtol=1e-4, atol=1e-5)


def test_under_a_head_of_ones_own(tiny_folders: Any, tmp_path: Path) -> None:
    model = trained(tiny_folders("bert"), adapter={"name": "lora", "r": 2}, head="mlp", pooling="mean")
    assert isinstance(model, HeadedModel)
    expected = model(**INPUTS)["logits"]
    save_and_merge(model, tmp_path / "adapter")
    torch.testing.assert_close(model(**INPUTS)["logits"], expected, rtol=1e-4, atol=1e-5)
    assert not any("lora" in name for name in model.state_dict())


def test_options_reach_peft(tiny_folders: Any) -> None:
    model = build(tiny_folders("bert"), adapter={"name": "lora", "r": 3, "target_modules": ["key"]})
    shapes = {name: tuple(one.shape) for name, one in model.named_parameters() if "lora_A" in name}
    assert set(shapes.values()) == {(3, 32)}
    assert all(".key." in name for name in shapes)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"adapter": "lorra"}, "sequence-classification", "Did you mean 'lora'"),
        ({"adapter": {"name": "lora", "rank": 8}}, "sequence-classification", "does not take 'rank'"),
        ({"adapter": {"name": "lora", "task_type": "SEQ_CLS"}}, "sequence-classification", "does not take 'task_type'"),
        ({"adapter": {"name": "lora", "r": 0}}, "sequence-classification", "does not fit this model"),
        ({"adapter": {"name": "lora", "target_modules": ["nothing"]}}, "sequence-classification", "does not fit"),
        ({"adapter": "lora", "freeze": "all"}, "sequence-classification", r"model\.freeze: an adapter leaves"),
        ({"adapter": "lora"}, "masked-lm", "core training changes the core"),
    ],
)
def test_what_does_not_suit_is_explained(options: dict[str, Any], kind: str, message: str, tiny_folders: Any) -> None:
    with pytest.raises(RecipeError, match=message):
        build(tiny_folders("bert"), kind, **options)
