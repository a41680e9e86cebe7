"""A body entered above its frozen layers says what it says of the whole way, and is itself again after each forward."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModel

from headway.errors import RecipeError
from headway.importing import Choice
from headway.models.backbone import load_backbone
from headway.models.entrance import body_of, enter_above, without_top
from headway.models.options import ModelOptions
from headway.types import ACTIVATIONS

FAMILIES = ("bert", "roberta", "electra", "distilbert")
KINDS = {"sequence-classification": 3, "token-classification": 3, "question-answering": 0, "features": 0}
NAMES = ("logits", "start_logits", "end_logits", "last_hidden_state")


def batch() -> dict[str, torch.Tensor]:
    """Three sequences of 9, 5 and 2 tokens, so that a packed forward has something to leave out."""
    lengths = torch.tensor([9, 5, 2])
    mask = (torch.arange(9) < lengths[:, None]).long()
    return {"input_ids": torch.randint(5, 30, (3, 9), generator=torch.Generator().manual_seed(0)) * mask,
            "attention_mask": mask}  # fmt: skip


def activations_of(model: nn.Module, inputs: dict[str, torch.Tensor], number: int) -> torch.Tensor:
    with torch.no_grad(), without_top(body_of(model), number=number):
        return body_of(model)(**inputs).last_hidden_state * inputs["attention_mask"][..., None]


def assert_same(found: Any, expected: Any, mask: torch.Tensor) -> None:
    compared = 0
    for name in NAMES:
        if name in expected:
            left, right = found[name], expected[name]
            if left.shape[:2] == mask.shape:
                left, right = left[mask.bool()], right[mask.bool()]
            torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)
            compared += 1
    assert compared


def built(folder: Any, kind: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    chosen = ModelOptions(model_name_or_path=str(folder), cache_frozen=True, **{"freeze": 1, **options})
    return load_backbone(chosen).build(kind, num_labels=KINDS[kind]).model.eval()


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_answer_is_the_same_and_the_frozen_layers_are_not_asked(
    tiny_folders: Any, family: str, kind: str, packing: bool
) -> None:
    model, inputs = built(tiny_folders(family), kind, packing=packing), batch()
    mask = inputs["attention_mask"]
    expected = model(**inputs)
    activations = activations_of(model, inputs, 1)
    stack = next(one for one in body_of(model).modules() if hasattr(one, "layer"))

    def asked(*_: Any) -> None:
        raise AssertionError("a frozen layer was asked")

    hook = stack.layer[0].register_forward_hook(asked)
    assert_same(model(**inputs, **{ACTIVATIONS: activations}), expected, mask)
    with pytest.raises(AssertionError, match="was asked"):
        model(**inputs)
    hook.remove()
    assert len(stack.layer) == 2
    assert_same(model(**inputs), expected, mask)
    # Other ones give another answer.
    other = model(**inputs, **{ACTIVATIONS: -activations})
    with pytest.raises(AssertionError):
        assert_same(other, expected, mask)


@pytest.mark.parametrize("head", [{"name": "linear"}, {"name": "mlp"}])
def test_under_a_head_of_its_own_with_two_layers_side_by_side(tiny_folders: Any, head: dict[str, Any]) -> None:
    options = {"head": Choice(**head), "pooling_layers": 2, "pooling": "mean"}
    model, inputs = built(tiny_folders("bert"), "sequence-classification", **options), batch()
    found = model(**inputs, **{ACTIVATIONS: activations_of(model, inputs, 1)})
    assert_same(found, model(**inputs), inputs["attention_mask"])


def test_all_layers_may_be_frozen(tiny_folders: Any) -> None:
    model, inputs = built(tiny_folders("bert"), "sequence-classification", freeze=2), batch()
    found = model(**inputs, **{ACTIVATIONS: activations_of(model, inputs, 2)})
    assert_same(found, model(**inputs), inputs["attention_mask"])


def test_frozen_layers_run_as_in_prediction_and_the_others_do_not(tiny_folders: Any) -> None:
    model, inputs = built(tiny_folders("bert"), "features"), batch()
    expected = activations_of(model, inputs, 1)
    model.train()
    assert torch.equal(activations_of(model, inputs, 1), expected)
    assert not torch.equal(model(**inputs).last_hidden_state, model(**inputs).last_hidden_state)


def test_a_forward_that_fails_leaves_the_layers_in_place(tiny_folders: Any) -> None:
    model, inputs = built(tiny_folders("bert"), "features"), batch()
    names = list(model.state_dict())
    activations = activations_of(model, inputs, 1)

    def fail(*_: Any) -> None:
        raise ValueError("no")

    hook = model.encoder.layer[1].register_forward_pre_hook(fail)
    with pytest.raises(ValueError, match="no"):
        model(**inputs, **{ACTIVATIONS: activations})
    hook.remove()
    assert list(model.state_dict()) == names


def test_a_copy_has_its_own_layers(tiny_folders: Any) -> None:
    model, inputs = built(tiny_folders("bert"), "features"), batch()
    activations = activations_of(model, inputs, 1)
    twin = copy.deepcopy(model)
    nn.init.zeros_(twin.encoder.layer[1].output.LayerNorm.weight)
    found = twin(**inputs, **{ACTIVATIONS: activations})
    assert_same(found, twin(**inputs), inputs["attention_mask"])
    assert twin.encoder.layer[1] is not model.encoder.layer[1]


@pytest.mark.parametrize("family", ["mpnet", "modernbert", "deberta-v2", "t5"])
def test_families_that_cannot_be_entered_are_refused(tiny_folders: Any, family: str) -> None:
    body = AutoModel.from_pretrained(tiny_folders(family))
    with pytest.raises(RecipeError, match=rf"model\.cache_frozen: {family} models cannot .* Leave it off, or choose"):
        enter_above(body, number=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reinit_layers": 2}, r"model\.reinit_layers is 2, but only 1 layers stand above the frozen ones"),
        ({"freeze": 2, "pooling_layers": 2, "head": Choice(name="linear")}, r"model\.pooling_layers is 2, .* to 1 or"),
        ({"freeze": 3}, "model.freeze is 3, but the model has 2 layers"),
    ],
)
def test_options_that_look_below_are_refused(tiny_folders: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        built(tiny_folders("bert"), "sequence-classification", **options)
