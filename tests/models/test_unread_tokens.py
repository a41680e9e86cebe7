from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from headway.models.backbone import load_backbone
from headway.models.options import ModelOptions
from headway.models.packing import is_packed
from headway.models.saving import load_model, save_model
from headway.models.unread_tokens import skips_unread_tokens
from headway.models.windows import WindowedModel

FAMILIES = ["bert", "distilbert", "roberta", "electra"]
LABELS = ("no", "yes")
UNEVEN, EVEN = [1, 60, 2, 40, 41, 7, 9, 50, 12, 3, 33, 5], [30, 29, 30, 28]
"""Lengths of batches: one of which padding is left out, one that is computed with it."""


def inputs_of(lengths: list[int], choices: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    inputs = {"input_ids": torch.randint(5, 30, mask.shape, generator=generator) * mask, "attention_mask": mask}
    return {name: one.unflatten(0, (-1, choices)) if choices else one for name, one in inputs.items()}


def build(folder: Path, kind: str = "sequence-classification", **options: Any) -> Any:
    torch.manual_seed(0)
    backbone = load_backbone(ModelOptions.model_validate({"model_name_or_path": str(folder)} | options))
    return backbone.build(kind, labels=LABELS if kind == "sequence-classification" else None, num_labels=2).model


def both(folder: Path, kind: str = "sequence-classification", **options: Any) -> tuple[Any, Any]:
    """Return two models of the same weights: the plain one, and the one whose last layer computes what is read."""
    plain, skipping = (build(folder, kind, skip_unread_tokens=is_on, **options) for is_on in (False, True))
    assert not skips_unread_tokens(plain)
    assert skips_unread_tokens(skipping)
    return plain, skipping


def body_of(model: Any) -> Any:
    return getattr(model, "backbone", model).base_model


def logits_of(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    logits: Tensor = model(**inputs)["logits"]
    return logits


def tokens_computed(model: Any, inputs: dict[str, Tensor]) -> list[int]:
    """Return how many tokens each layer's map from the wide middle back to the vectors computes."""
    seen: list[int] = []
    hooks = [
        one.register_forward_hook(lambda module, given, output: seen.append(output[..., 0].numel()))
        for one in body_of(model).modules()
        if isinstance(one, nn.Linear) and one.in_features == 64
    ]
    model(**inputs)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("lengths", [UNEVEN, EVEN], ids=["uneven", "even"])
@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_logits_are_the_same_and_nothing_else_is_computed(
    family: str, packing: bool, lengths: list[int], tiny_folders: Callable[[str], Path]
) -> None:
    plain, skipping = both(tiny_folders(family), packing=packing)
    inputs = inputs_of(lengths)
    with torch.inference_mode():
        torch.testing.assert_close(logits_of(skipping, inputs), logits_of(plain, inputs), rtol=2e-6, atol=2e-7)
        *lower, last = tokens_computed(skipping, inputs)
        assert last == len(lengths)
        assert [*lower, lower[0]] == tokens_computed(plain, inputs)


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize(("family", "maps"), [
    ("bert", "encoder.layer.1.attention.self.{key,value}"), ("distilbert", "transformer.layer.1.attention.{k,v}_lin"),
])  # fmt: skip
def test_in_prediction_the_last_layer_forms_no_keys_and_values(
    family: str, maps: str, packing: bool, tiny_folders: Callable[[str], Path]
) -> None:
    formed: list[str] = []
    before, _, rest = maps.partition("{")
    names, _, after = rest.partition("}")
    for options in ({}, {"adapter": "lora"}):
        _, model = both(tiny_folders(family), packing=packing, **options)
        for name in names.split(","):
            layer = body_of(model).get_submodule(before + name + after)
            layer.register_forward_hook(lambda layer, given, output, name=name: formed.append(name))
        for lengths in (UNEVEN, EVEN):
            logits_of(model, inputs_of(lengths))
        # Somebody asks for gradients, or another module than a plain map stands there.
        assert formed == names.split(",") * 2
        formed.clear()
        with torch.inference_mode():
            logits_of(model, inputs_of(UNEVEN))
            assert formed == (names.split(",") if options else [])
            formed.clear()
            logits_of(model.train(), inputs_of(UNEVEN))  # whose weights of attention are dropped
            assert formed == names.split(",")
        formed.clear()


def test_maps_without_a_bias(tiny_folders: Callable[[str], Path]) -> None:
    models = both(tiny_folders("bert"))
    for model in models:
        for name in ("query", "key", "value"):
            getattr(body_of(model).encoder.layer[-1].attention.self, name).bias = None
    with torch.inference_mode():
        plain, skipping = (logits_of(model, inputs_of(UNEVEN)) for model in models)
    torch.testing.assert_close(skipping, plain, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("family", FAMILIES)
def test_choices(family: str, tiny_folders: Callable[[str], Path]) -> None:
    plain, skipping = both(tiny_folders(family), "multiple-choice")
    for lengths in (UNEVEN, EVEN):
        inputs = inputs_of(lengths, choices=2)
        torch.testing.assert_close(logits_of(skipping, inputs), logits_of(plain, inputs), rtol=2e-6, atol=2e-7)
        assert tokens_computed(skipping, inputs)[-1] == len(lengths)


@pytest.mark.parametrize("lengths", [UNEVEN, EVEN], ids=["uneven", "even"])
@pytest.mark.parametrize("options", [
    {}, {"head": "mlp"}, {"gradient_checkpointing": True}, {"num_hidden_layers": 1}, {"adapter": "lora"}, {"freeze": 1},
    {"attn_implementation": "sdpa"},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_the_gradients_are_the_same(
    family: str, options: dict[str, Any], lengths: list[int], tiny_folders: Callable[[str], Path]
) -> None:
    models = both(tiny_folders(family), dropout=0.0, **options)
    for model in models:
        for one in model.modules():
            if isinstance(getattr(one, "p", None), float):  # dropout of attention weights is no option
                one.p = 0.0
        model.train()
        logits_of(model, inputs_of(lengths)).square().sum().backward()
    plain, skipping = (dict(model.named_parameters()) for model in models)
    moved = [name for name, one in plain.items() if one.grad is not None]
    assert moved
    for name in moved:
        torch.testing.assert_close(skipping[name].grad, plain[name].grad, rtol=2e-5, atol=2e-6)


def test_bfloat16_stays_close(tiny_folders: Callable[[str], Path]) -> None:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        plain, skipping = both(tiny_folders("bert"))
        for lengths in (UNEVEN, EVEN):
            inputs = inputs_of(lengths)
            found, expected = logits_of(skipping, inputs), logits_of(plain, inputs)
            torch.testing.assert_close(found.float(), expected.float(), rtol=0.05, atol=0.01)


@pytest.mark.parametrize("options", [
    {"head": "linear", "pooling": "mean"}, {"head": "linear", "pooling": "attention"},
    {"head": "linear", "pooling_layers": 2}, {"attn_implementation": "eager"},
    {"adapter": {"name": "prefix", "num_virtual_tokens": 2}},
], ids=str)  # fmt: skip
def test_where_more_is_read_all_is_computed(options: dict[str, Any], tiny_folders: Callable[[str], Path]) -> None:
    assert not skips_unread_tokens(build(tiny_folders("bert"), **options))


@pytest.mark.parametrize("kind", ["token-classification", "question-answering", "masked-lm", "features"])
def test_other_kinds_read_all(kind: str, tiny_folders: Callable[[str], Path]) -> None:
    assert not skips_unread_tokens(build(tiny_folders("bert"), kind))


@pytest.mark.parametrize("family", ["albert", "modernbert", "mpnet", "deberta-v2"])
def test_other_families_compute_all(family: str, tiny_folders: Callable[[str], Path]) -> None:
    assert not skips_unread_tokens(build(tiny_folders(family)))


def test_a_head_that_was_told_to_read_other_tokens(tiny_folders: Callable[[str], Path]) -> None:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_folders("electra"))))
    backbone.config.summary_type = "mean"
    model: Any = backbone.build("multiple-choice").model
    assert not skips_unread_tokens(model)


def test_a_decoder_computes_all(tiny_folders: Callable[[str], Path]) -> None:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_folders("bert"))))
    backbone.config.is_decoder = True
    model: Any = backbone.build("sequence-classification", labels=LABELS, num_labels=2).model
    assert not skips_unread_tokens(model)


@pytest.mark.parametrize("head", ["default", "linear"])
def test_who_calls_the_body_gets_all_tokens(head: str, tiny_folders: Callable[[str], Path]) -> None:
    plain, skipping = both(tiny_folders("bert"), head=head)
    found, expected = (body_of(model)(**inputs_of(UNEVEN)) for model in (skipping, plain))
    assert torch.equal(found.last_hidden_state, expected.last_hidden_state)
    assert torch.equal(found.pooler_output, expected.pooler_output)


def test_who_asks_for_hidden_states_gets_all_of_them(tiny_folders: Callable[[str], Path]) -> None:
    plain, skipping = both(tiny_folders("bert"))
    found, expected = (model(**inputs_of(UNEVEN), output_hidden_states=True) for model in (skipping, plain))
    for one, other in zip(found.hidden_states, expected.hidden_states, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
def test_windows(pooling: str, tiny_folders: Callable[[str], Path]) -> None:
    models = [WindowedModel(model, pooling=pooling).eval() for model in both(tiny_folders("bert"))]
    given = {**inputs_of(UNEVEN), "num_windows": torch.tensor([5, 1, 6])}
    with torch.inference_mode():
        plain, skipping = (model(**given)["logits"] for model in models)
    torch.testing.assert_close(skipping, plain, rtol=2e-6, atol=2e-7)
    # Its attention looks at all tokens of a window.
    assert skips_unread_tokens(models[1].model) == (pooling != "attention")


def test_what_is_saved_is_the_plain_model_and_remembers(tiny_folders: Callable[[str], Path], tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    folder = tiny_folders("bert")
    tokenizer = load_backbone(ModelOptions(model_name_or_path=str(folder))).tokenizer
    plain, skipping = both(folder)
    for name, model in (("plain", plain), ("skipping", skipping)):
        save_model(model, tokenizer, tmp_path / name, extra={"labels": list(LABELS)})
        ours, _ = load_model(tmp_path / name, "sequence-classification", allow_user_code=False)
        assert skips_unread_tokens(ours) == (name == "skipping")
        assert is_packed(ours)
        theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / name)
        with torch.inference_mode():
            expected = theirs(**inputs_of(UNEVEN)).logits
            torch.testing.assert_close(logits_of(ours, inputs_of(UNEVEN)), expected, rtol=2e-6, atol=2e-7)
    assert (tmp_path / "plain/config.json").read_text() == (tmp_path / "skipping/config.json").read_text()


def test_a_copy_is_a_model_of_its_own(tiny_folders: Callable[[str], Path]) -> None:
    _, model = both(tiny_folders("bert"))
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    inputs = inputs_of(UNEVEN)
    assert not logits_of(model, inputs).any()
    assert logits_of(twin, inputs).any()
