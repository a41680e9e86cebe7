from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from headway.models.backbone import load_backbone
from headway.models.options import ModelOptions
from headway.models.sharing import share_body
from headway.models.used_rows import UsedRows, only_used_rows

USED = np.array([0, 2, 3, 5, 8, 9, 11])


def build(folder: Path, kind: str = "sequence-classification", **options: Any) -> Any:
    torch.manual_seed(0)
    backbone = load_backbone(
        ModelOptions.model_validate({"model_name_or_path": str(folder), "dropout": 0.0, "fast_dropout": True} | options)
    )
    given = {} if kind in ("masked-lm", "features") else {"labels": ("no", "yes"), "num_labels": 2}
    return backbone.build(kind, **given).model


def table(model: nn.Module) -> Any:
    return next(one for name, one in model.named_modules() if name.endswith("word_embeddings"))


def inputs(ids: Any = USED) -> dict[str, Tensor]:
    chosen = torch.as_tensor(np.resize(ids, (4, 6)), dtype=torch.long)
    return {"input_ids": chosen, "attention_mask": torch.ones_like(chosen)}


def steps(model: Any, number: int = 5, optimizer: Any = torch.optim.AdamW) -> None:
    given = {"weight_decay": 0.0, "fused": True} if optimizer is torch.optim.AdamW else {}
    chosen = optimizer(model.parameters(), lr=1e-2, **given)
    for _ in range(number):
        nn.functional.cross_entropy(model(**inputs()).logits, torch.tensor([0, 1, 0, 1])).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        chosen.step()
        chosen.zero_grad()


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop, torch.optim.NAdam])
@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "albert"])
def test_training_goes_the_same_way(family: str, optimizer: Any, tiny_folders: Callable[[str], Path]) -> None:
    plain, model = (build(tiny_folders(family)) for _ in range(2))
    before = {name: one.clone() for name, one in plain.state_dict().items()}
    steps(plain, optimizer=optimizer)
    with only_used_rows([model], USED):
        assert isinstance(table(model), UsedRows)
        steps(model, optimizer=optimizer)
    assert type(table(model)) is nn.Embedding
    after = model.state_dict()
    assert list(after) == list(before)
    for name, expected in plain.state_dict().items():
        torch.testing.assert_close(after[name], expected, rtol=1e-4, atol=1e-5)
    words = next(name for name in after if name.endswith("word_embeddings.weight"))
    others = np.setdiff1d(np.arange(len(after[words])), [*USED, 1 if family == "roberta" else 0])
    assert torch.equal(after[words][others], before[words][others])
    assert not torch.equal(after[words][USED[1:]], before[words][USED[1:]])


def test_words_that_are_not_trained_are_known_to_validation(tiny_folders: Callable[[str], Path]) -> None:
    plain, model = (build(tiny_folders("bert")) for _ in range(2))
    every = inputs(np.arange(24))
    with only_used_rows([model], USED):
        for number in (1, 2):
            steps(plain, number)
            steps(model, number)
            for guard in (torch.inference_mode, torch.no_grad):
                with guard():
                    torch.testing.assert_close(model(**every).logits, plain(**every).logits, rtol=1e-4, atol=1e-5)
        with pytest.raises(IndexError):
            model(**every)


def test_a_checkpoint_holds_the_trained_rows_alone(tiny_folders: Callable[[str], Path]) -> None:
    models = [build(tiny_folders("bert")) for _ in range(2)]
    with only_used_rows([models[0]], USED):
        steps(models[0])
        saved = copy.deepcopy(models[0].state_dict())
        logits = models[0](**inputs(np.arange(12) % 2 * 2)).logits
    assert not any(name.endswith("word_embeddings.weight") for name in saved)
    with only_used_rows([models[1]], USED):
        with torch.inference_mode():
            models[1](**inputs())
        models[1].load_state_dict(saved)
        with torch.inference_mode():
            assert torch.equal(models[1](**inputs(np.arange(12) % 2 * 2)).logits, logits)
    for name, one in models[0].state_dict().items():
        assert torch.equal(models[1].state_dict()[name], one), name


def test_an_error_loses_nothing(tiny_folders: Callable[[str], Path]) -> None:
    model = build(tiny_folders("bert"))
    before = table(model).weight.clone()

    def stopped() -> None:
        with only_used_rows([model], USED):
            steps(model, 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert type(table(model)) is nn.Embedding
    assert not torch.equal(table(model).weight, before)
    assert table(model).weight.requires_grad


def test_several_models_over_one_body(tiny_folders: Callable[[str], Path]) -> None:
    models = [build(tiny_folders("bert"), kind) for kind in ("sequence-classification", "token-classification")]
    share_body(models)
    with only_used_rows(models, USED):
        assert table(models[0]) is table(models[1])
        steps(models[0], 2)
    assert table(models[0]).weight.data_ptr() == table(models[1]).weight.data_ptr()


@pytest.mark.parametrize(
    ("kind", "options"),
    [("masked-lm", {}), ("sequence-classification", {"freeze": 0}), ("sequence-classification", {"adapter": "lora"})],
)
def test_tied_and_frozen_embeddings_stay(
    kind: str, options: dict[str, Any], tiny_folders: Callable[[str], Path]
) -> None:
    model = build(tiny_folders("bert"), kind, **options)
    with only_used_rows([model], USED):
        assert type(table(model)) is nn.Embedding
