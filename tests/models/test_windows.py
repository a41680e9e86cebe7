from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from headway.errors import ModelError
from headway.models import windows
from headway.models.backbone import load_backbone
from headway.models.options import ModelOptions
from headway.models.saving import load_model, save_model
from headway.models.windows import WindowedModel

SIZES = torch.tensor([1, 3, 2])
POOLINGS = ["mean", "max", "attention"]


def inputs_of(num_sequences: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 30, (num_sequences, 9), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, 5:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def build(folder: Path, pooling: str, **options: Any) -> WindowedModel:
    torch.manual_seed(0)
    backbone = load_backbone(ModelOptions(model_name_or_path=str(folder), **options))
    model = backbone.build("sequence-classification", labels=["no", "yes"], num_labels=2).model
    return WindowedModel(model, pooling=pooling)


def stir(model: torch.nn.Module) -> None:
    """Change the weights as training would."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_row_of_one_window_gets_the_logits_of_the_model(tiny_folders: Any, pooling: str) -> None:
    model = build(tiny_folders("bert"), pooling).eval()
    stir(model)
    with torch.inference_mode():
        plain = model.model(**inputs_of())["logits"]
        assert torch.equal(model(**inputs_of())["logits"], plain)
        assert torch.equal(model(**inputs_of(), num_windows=torch.ones(6, dtype=torch.long))["logits"], plain)


def test_mean_and_max_of_a_rows_windows(tiny_folders: Any) -> None:
    for pooling in ("mean", "max"):
        model = build(tiny_folders("bert"), pooling).eval()
        with torch.inference_mode():
            one, three, two = model.model(**inputs_of())["logits"].split([1, 3, 2])
            found = model(**inputs_of(), num_windows=SIZES)["logits"]
        join = torch.mean if pooling == "mean" else torch.amax
        torch.testing.assert_close(found, torch.stack([join(part, 0) for part in (one, three, two)]))


def test_attention_begins_as_the_mean_and_learns_to_prefer(tiny_folders: Any) -> None:
    mean = build(tiny_folders("bert"), "mean").eval()
    model = build(tiny_folders("bert"), "attention").eval()
    with torch.inference_mode():
        begun, expected = (one(**inputs_of(), num_windows=SIZES)["logits"] for one in (model, mean))
    torch.testing.assert_close(begun, expected)
    attention = list(model.attention.parameters())
    for parameter in model.model.parameters():
        parameter.requires_grad_(False)
    optimizer = torch.optim.Adam(attention, lr=0.05)
    losses = []
    for _ in range(30):
        logits = model(**inputs_of(), num_windows=SIZES)["logits"]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    with torch.inference_mode():
        learnt = model(**inputs_of(), num_windows=SIZES)["logits"]
        torch.testing.assert_close(learnt[0], expected[0])  # one window has no neighbour to yield to
        assert (learnt[1:] - expected[1:]).abs().max() > 1e-4
        # A weighted mean stays between the logits of its windows.
        three = model.model(**inputs_of())["logits"][1:4]
        assert ((learnt[1] >= three.amin(0) - 1e-6) & (learnt[1] <= three.amax(0) + 1e-6)).all()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_slices_change_neither_logits_nor_gradients(
    tiny_folders: Any, pooling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout is off: in slices it is drawn slice by slice."""
    found = []
    for tokens in (1000, 18):
        monkeypatch.setattr(windows, "TOKENS_PER_SLICE", tokens)
        model = build(tiny_folders("bert"), pooling, dropout=0.0).eval()
        stir(model)
        sizes = []
        # Before the call: computing a slice again ends as soon as all that its gradient needs is there.
        hook = model.model.register_forward_pre_hook(
            lambda module, args, inputs, sizes=sizes: sizes.append(len(inputs["input_ids"])), with_kwargs=True
        )
        logits = model(**inputs_of(), num_windows=SIZES)["logits"]
        assert sizes == ([6] if tokens == 1000 else [2, 2, 2])
        logits.square().sum().backward()
        # The activations of a slice are computed again for its gradient.
        assert len(sizes) == (1 if tokens == 1000 else 6)
        hook.remove()
        found.append([logits.detach(), *(one.grad for one in model.parameters() if one.grad is not None)])
        with torch.inference_mode():
            torch.testing.assert_close(model(**inputs_of(), num_windows=SIZES)["logits"], logits.detach())
    for whole, sliced in zip(*found, strict=True):
        torch.testing.assert_close(sliced, whole, rtol=1e-4, atol=1e-6)


def test_dropout_is_the_same_when_a_slice_is_computed_again(tiny_folders: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "TOKENS_PER_SLICE", 18)
    gradients = []
    for _ in range(2):
        model = build(tiny_folders("bert"), "attention", dropout=0.5).train()
        seen: list[torch.Tensor] = []
        model.model.classifier.register_forward_hook(lambda module, given, out, seen=seen: seen.append(out.detach()))
        torch.manual_seed(7)
        model(**inputs_of(), num_windows=SIZES)["logits"].sum().backward()
        first, again = seen[:3], seen[3:]
        assert {tuple(one.flatten().tolist()) for one in first} == {tuple(one.flatten().tolist()) for one in again}
        gradients.append(model.model.classifier.weight.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("head", ["default", "mlp"])
@pytest.mark.parametrize("family", ["bert", "distilbert", "t5"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_saved_model_is_the_same_again(
    tiny_folders: Any, tmp_path: Path, pooling: str, family: str, head: str
) -> None:
    if family == "t5" and head == "default":
        pytest.skip("T5's own head asks for an end token in each sequence, which these inputs lack")
    model = build(tiny_folders(family), pooling, head=head).eval()
    stir(model)
    tokenizer = load_backbone(ModelOptions(model_name_or_path=str(tiny_folders(family)))).tokenizer
    save_model(model, tokenizer, tmp_path / "model", extra={"labels": ["no", "yes"]})
    assert (tmp_path / "model" / "windows.safetensors").exists() == (pooling == "attention")
    loaded, _ = load_model(tmp_path / "model", "sequence-classification", allow_user_code=False)
    assert isinstance(loaded, WindowedModel)
    with torch.inference_mode():
        expected = model(**inputs_of(), num_windows=SIZES)["logits"]
        assert torch.equal(loaded(**inputs_of(), num_windows=SIZES)["logits"], expected)
        if head == "default":
            plain = AutoModelForSequenceClassification.from_pretrained(
                tmp_path / "model", trust_remote_code=False
            ).eval()
            # headway's last layer multiplies fewer rows, which are added up in another order.
            torch.testing.assert_close(plain(**inputs_of()).logits, model(**inputs_of())["logits"], rtol=0, atol=1e-6)


def test_attention_that_is_missing_or_of_another_model_is_refused(tiny_folders: Any, tmp_path: Path) -> None:
    model = build(tiny_folders("bert"), "attention")
    tokenizer = load_backbone(ModelOptions(model_name_or_path=str(tiny_folders("bert")))).tokenizer
    folder = tmp_path / "model"
    save_model(model, tokenizer, folder, extra={"labels": ["no", "yes"]})
    (folder / "windows.safetensors").rename(tmp_path / "kept")
    with pytest.raises(ModelError, match=r"windows\.safetensors"):
        load_model(folder, "sequence-classification", allow_user_code=False)
    (folder / "windows.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(ModelError, match=r"windows\.safetensors: the tensor .* (is missing|has no place in)"):
        load_model(folder, "sequence-classification", allow_user_code=False)
    about = json.loads((folder / "headway.json").read_text())
    (folder / "headway.json").write_text(json.dumps({**about, "windows": {"pooling": "median"}}))
    with pytest.raises(ModelError, match="'windows' is not what headway writes there"):
        load_model(folder, "sequence-classification", allow_user_code=False)


def test_a_frozen_backbone_leaves_head_and_attention_to_learn(tiny_folders: Any) -> None:
    model = build(tiny_folders("bert"), "attention", freeze="all", head="linear")
    assert {name.partition(".")[0] for name, one in model.named_parameters() if one.requires_grad} == {
        "model",
        "attention",
    }
    model(**inputs_of(), num_windows=SIZES)["logits"].square().sum().backward()
    assert model.attention[-1].weight.grad.abs().sum() > 0
    assert all(one.grad is None for one in model.model.backbone.parameters())
