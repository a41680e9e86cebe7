"""A prefix before the backbone: the same logits as peft's own, trained alone, saved beside the model and put back."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import PeftModel, PrefixTuningConfig, get_peft_model
from safetensors.torch import load_file
from tests.models.test_adapters import INPUTS, build, trained
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer

from headway.errors import ModelError, RecipeError
from headway.models.adapters import has_adapter, save_and_merge
from headway.models.backbone import load_backbone
from headway.models.options import KINDS, ModelOptions
from headway.models.prefix import FAMILIES, PREFIX_FILE, check_room, prefix_of, put_prefix
from headway.models.saving import load_model, save_model
from headway.models.windows import WindowedModel

PREFIX = {"name": "prefix", "num_virtual_tokens": 3}
PROJECTED = {**PREFIX, "prefix_projection": True, "encoder_hidden_size": 8}
PADDED = {
    "input_ids": torch.tensor([[2, 9, 10, 3], [2, 31, 3, 0]]),
    "attention_mask": torch.tensor([[1] * 4, [1, 1, 1, 0]]),
}
# peft itself asks transformers by a name that version 6 will drop.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def save(model: nn.Module, source: Path, folder: Path) -> Path:
    save_model(model, AutoTokenizer.from_pretrained(source), folder, extra={"labels": []})
    return folder


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["sequence-classification", "token-classification"])
def test_every_family_gives_the_logits_of_peft(family: str, kind: str) -> None:
    config = AutoConfig.for_model(
        family, vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, pad_token_id=0, bos_token_id=2, eos_token_id=3, num_labels=3,
    )  # fmt: skip
    torch.manual_seed(0)
    ours = getattr(transformers, KINDS[kind]).from_config(config).eval()
    task = {"sequence-classification": "SEQ_CLS", "token-classification": "TOKEN_CLS"}[kind]
    theirs = get_peft_model(copy.deepcopy(ours), PrefixTuningConfig(task_type=task, num_virtual_tokens=3)).eval()
    without = ours(**PADDED).logits
    put_prefix(ours.base_model, theirs.prompt_encoder["default"], num_virtual_tokens=3)
    found = ours(**PADDED).logits
    torch.testing.assert_close(found, theirs(**PADDED).logits)
    assert not torch.allclose(found, without, atol=1e-3)
    # Padding is not seen, and without a mask everything is.
    alone = ours(PADDED["input_ids"][1:, :3]).logits
    torch.testing.assert_close(found[1:, : alone.shape[1]] if found.ndim == 3 else found[1:], alone)


@pytest.mark.parametrize("options", [PREFIX, PROJECTED])
def test_only_the_prefix_and_the_head_are_trained(options: dict[str, Any], tiny_folders: Any) -> None:
    before = build(tiny_folders("bert"))
    model = trained(tiny_folders("bert"), adapter=options)
    assert {name.split(".")[0] if "prefix" not in name else "prefix"
            for name, one in model.named_parameters() if one.requires_grad} == {"prefix", "classifier"}  # fmt: skip
    after = model.state_dict()
    assert all(torch.equal(one, after[name]) for name, one in before.state_dict().items() if "classifier" not in name)
    assert not torch.allclose(after["classifier.weight"], before.state_dict()["classifier.weight"])
    untrained = build(tiny_folders("bert"), adapter=options).state_dict()
    moved = [name for name in after if "prefix" in name and not torch.equal(after[name], untrained[name])]
    assert len(moved) == (5 if "prefix_projection" in options else 1)


def test_twenty_virtual_tokens_are_the_default(tiny_folders: Any) -> None:
    prefix = prefix_of(build(tiny_folders("bert"), adapter="prefix"))
    assert prefix is not None
    assert prefix.embedded().shape == (20, 2 * 2 * 32)


@pytest.mark.parametrize("options", [PREFIX, PROJECTED])
@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("bert", "sequence-classification"),
        ("roberta", "sequence-classification"),
        ("electra", "token-classification"),
        ("bert", "token-classification"),
    ],
)
def test_peft_and_headway_load_what_is_saved(
    options: dict[str, Any], family: str, kind: str, tiny_folders: Any, tmp_path: Path
) -> None:
    source = tiny_folders(family)
    model = trained(source, kind, adapter=options)
    expected = model(**INPUTS)["logits"]
    assert has_adapter(model)
    save_and_merge(model, tmp_path / "adapter")
    assert not has_adapter(model)
    # It is scored as it was trained.
    torch.testing.assert_close(model(**INPUTS)["logits"], expected)

    torch.manual_seed(1)  # another head than ours, to be replaced by the saved one
    auto = getattr(transformers, KINDS[kind])
    theirs = PeftModel.from_pretrained(auto.from_pretrained(source, num_labels=3), str(tmp_path / "adapter")).eval()
    torch.testing.assert_close(theirs(**INPUTS).logits, expected, rtol=1e-4, atol=1e-5)

    folder = save(model, source, tmp_path / "model")
    again, _ = load_model(folder, kind, allow_user_code=False)
    torch.testing.assert_close(again(**INPUTS)["logits"], expected)
    # Transformers alone reads a whole model, but another one; headway.json warns.
    assert json.loads((folder / "headway.json").read_text())["prefix"] == {"num_virtual_tokens": 3}
    assert not any("prefix" in name for name in load_file(folder / "model.safetensors"))
    assert not torch.allclose(auto.from_pretrained(folder)(**INPUTS).logits, expected, atol=1e-3)


def answers(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    found = model(**inputs)
    return found["start_logits"] if "start_logits" in found else found["logits"]


@pytest.mark.parametrize("head", ["default", "mlp"])
@pytest.mark.parametrize("kind", ["sequence-classification", "question-answering", "multiple-choice", "windows"])
def test_under_every_head(kind: str, head: str, tiny_folders: Any, tmp_path: Path) -> None:
    source, inputs, is_windowed = tiny_folders("bert"), dict(INPUTS), kind == "windows"
    kind = "sequence-classification" if is_windowed else kind
    num_labels = 0 if kind == "multiple-choice" else 2
    if kind == "multiple-choice":
        inputs = {name: one.unsqueeze(0) for name, one in inputs.items()}
    options = ModelOptions.model_validate({"model_name_or_path": str(source), "adapter": PROJECTED, "head": head})
    model = load_backbone(options).build(kind, num_labels=num_labels).model
    if is_windowed:
        model = WindowedModel(model, pooling="attention")
        inputs["num_windows"] = torch.tensor([2])
    prefix = prefix_of(model)
    assert prefix is not None
    (gradient,) = torch.autograd.grad(answers(model, inputs).square().sum(), [next(prefix.parameters())])
    assert gradient.abs().sum() > 0
    expected = answers(model.eval(), inputs)
    save_and_merge(model, tmp_path / "adapter")
    again, _ = load_model(save(model, source, tmp_path / "model"), kind, allow_user_code=False)
    torch.testing.assert_close(answers(again, inputs), expected)


def test_peft_reads_the_prefix_of_a_plain_backbone(tiny_folders: Any, tmp_path: Path) -> None:
    model = trained(tiny_folders("bert"), adapter=PREFIX, head="linear")
    save_and_merge(model, tmp_path / "adapter")
    plain = transformers.AutoModel.from_pretrained(tiny_folders("bert"))
    theirs = PeftModel.from_pretrained(plain, str(tmp_path / "adapter")).eval()
    backbone: Any = model.backbone
    torch.testing.assert_close(theirs(**INPUTS).last_hidden_state, backbone(**INPUTS).last_hidden_state)


def test_fewer_layers_find_their_keys(tiny_folders: Any, tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(tiny_folders("bert"), num_hidden_layers=4)
    shutil.copytree(tiny_folders("bert"), tmp_path / "deep")
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path / "deep")
    model = build(tmp_path / "deep", adapter=PREFIX, num_hidden_layers=2).eval()
    expected = model(**PADDED)["logits"]
    save_and_merge(model, tmp_path / "adapter")
    again, _ = load_model(
        save(model, tmp_path / "deep", tmp_path / "model"), "sequence-classification", allow_user_code=False
    )
    torch.testing.assert_close(again(**PADDED)["logits"], expected)


def test_in_bfloat16(tiny_folders: Any) -> None:
    model = build(tiny_folders("bert"), adapter=PREFIX).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(**PADDED)["logits"]
    torch.testing.assert_close(found.float(), model(**PADDED)["logits"], rtol=0.1, atol=0.02)


# --- what does not suit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["distilbert", "modernbert", "deberta-v2", "mpnet", "albert", "t5"])
def test_other_families_take_none(family: str, tiny_folders: Any) -> None:
    kind = "features" if family == "t5" else "sequence-classification"
    with pytest.raises(RecipeError, match=rf"layers of {family} models take no prefix\. .* of bert, camembert"):
        build(tiny_folders(family), kind, adapter="prefix")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adapter": {"name": "prefix", "num_virtual_token": 3}}, "Did you mean 'num_virtual_tokens'"),
        ({"adapter": {"name": "prefix", "token_dim": 3}}, "does not take 'token_dim'"),
        ({"adapter": {"name": "prefix", "target_modules": "query"}}, "does not take 'target_modules'"),
        (
            {"adapter": {"name": "prefix", "num_virtual_tokens": 0}},
            "num_virtual_tokens .* whole number from 1, found 0",
        ),
        ({"adapter": {**PROJECTED, "encoder_hidden_size": "wide"}}, "encoder_hidden_size .* found 'wide'"),
        ({"adapter": "prefix", "gradient_checkpointing": True}, "computed again take no prefix"),
        ({"adapter": "prefix", "freeze": 1}, "an adapter leaves all pretrained weights"),
        ({"adapter": "prefix", "reinit_layers": 1}, "must be trained"),
    ],
)
def test_what_does_not_suit_is_explained(options: dict[str, Any], message: str, tiny_folders: Any) -> None:
    with pytest.raises(RecipeError, match=message):
        build(tiny_folders("bert"), **options)


@pytest.mark.parametrize(("family", "room"), [("bert", 61), ("roberta", 60)])
def test_texts_must_fit_behind_it(family: str, room: int, tiny_folders: Any) -> None:
    model = build(tiny_folders(family), adapter=PREFIX)
    check_room(model, max_length=room)
    ids = torch.full((1, room), 9)
    model(input_ids=ids, attention_mask=torch.ones_like(ids))
    with pytest.raises(RecipeError, match=rf"max_length is {room + 1}.* leave room for {room} tokens behind"):
        check_room(model, max_length=room + 1)
    check_room(build(tiny_folders(family)), max_length=1000)


def test_training_does_not_go_on_from_one(tiny_folders: Any, tmp_path: Path) -> None:
    folder = save(build(tiny_folders("bert"), adapter=PREFIX), tiny_folders("bert"), tmp_path / "model")
    with pytest.raises(ModelError, match=r"was trained with a prefix .* Name the backbone"):
        load_backbone(ModelOptions(model_name_or_path=str(folder)))


@pytest.mark.parametrize("about", [3, {}, {"num_virtual_tokens": -1}, {"num_virtual_tokens": "3"}])
def test_a_damaged_description(about: Any, tiny_folders: Any, tmp_path: Path, edit_json: Any) -> None:
    folder = save(build(tiny_folders("bert"), adapter=PREFIX), tiny_folders("bert"), tmp_path / "model")
    edit_json(folder / "headway.json", prefix=about)
    with pytest.raises(ModelError, match="'prefix' is not what headway writes there"):
        load_model(folder, "sequence-classification", allow_user_code=False)


def test_nothing_is_written_for_tools_that_would_lack_it(tiny_folders: Any, tmp_path: Path) -> None:
    for options in ({}, {"adapter": PREFIX}):
        folder = tmp_path / f"model-{len(options)}"
        tokenizer = AutoTokenizer.from_pretrained(tiny_folders("bert"))
        model = build(tiny_folders("bert"), "features", **options)
        save_model(model, tokenizer, folder, extra={"labels": []}, companions={"modules.json": []})
        assert (folder / "modules.json").exists() == (not options)


def test_a_missing_or_another_prefix(tiny_folders: Any, tmp_path: Path, edit_json: Any) -> None:
    folder = save(build(tiny_folders("bert"), adapter=PREFIX), tiny_folders("bert"), tmp_path / "model")
    edit_json(folder / "headway.json", prefix={"num_virtual_tokens": 4})
    with pytest.raises(ModelError, match=r"'prefix' has another shape: \[3, 128\] in the file, \[4, 128\]"):
        load_model(folder, "sequence-classification", allow_user_code=False)
    (folder / PREFIX_FILE).unlink()
    with pytest.raises(ModelError, match=r"lacks prefix\.safetensors"):
        load_model(folder, "sequence-classification", allow_user_code=False)
