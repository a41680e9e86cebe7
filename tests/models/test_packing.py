from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.conftest import COMMON, SIZES, WORDS
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from headway.models import packing
from headway.models.adapters import save_and_merge
from headway.models.backbone import load_backbone
from headway.models.dropout import FastDropout
from headway.models.layout import Layout
from headway.models.masked_positions import logits_at
from headway.models.options import ModelOptions
from headway.models.packing import is_packed
from headway.models.saving import load_model, save_model
from headway.models.windows import WindowedModel

FAMILIES = ["bert", "distilbert", "roberta", "xlm-roberta", "camembert", "electra", "albert", "modernbert"]
KINDS = ["sequence-classification", "token-classification", "question-answering", "masked-lm", "features"]
LENGTHS = [1, 60, 2, 40, 41, 7, 9, 50, 12, 3, 33, 5]
LABELS = ("no", "yes")


def inputs_of(lengths: list[int] = LENGTHS, *, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": torch.randint(5, 30, mask.shape, generator=generator) * mask, "attention_mask": mask}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory, tiny_folders: Callable[[str], Path]) -> Callable[[str], Path]:
    """Return the folder of a tiny model that reads texts of 300 tokens and sees few of them in a sliding window."""
    root = tmp_path_factory.mktemp("long")

    def get(family: str) -> Path:
        folder = root / family
        if not folder.exists():
            own = dict(SIZES[family]) if family == "distilbert" else COMMON | SIZES.get(family, {})
            if family == "modernbert":
                own |= {"local_attention": 8, "global_attn_every_n_layers": 2, "num_hidden_layers": 3}
            own |= {"vocab_size": len(WORDS), "max_position_embeddings": 300, "bos_token_id": 2, "eos_token_id": 3}
            torch.manual_seed(0)
            AutoModel.from_config(AutoConfig.for_model(family, **own)).save_pretrained(folder)
            for path in tiny_folders("bert").glob("tokenizer*"):
                (folder / path.name).write_bytes(path.read_bytes())
        return folder

    return get


def build(folder: Path, kind: str = "sequence-classification", **options: Any) -> Any:
    torch.manual_seed(0)
    backbone = load_backbone(ModelOptions.model_validate({"model_name_or_path": str(folder)} | options))
    given = {} if kind in ("masked-lm", "features") else {"labels": LABELS, "num_labels": 2}
    return backbone.build(kind, **given).model


def both(folder: Path, kind: str = "sequence-classification", **options: Any) -> tuple[Any, Any]:
    """Return two models of the same weights: the plain one and the packed one."""
    return build(folder, kind, packing=False, **options), build(folder, kind, **options)


def rows_seen(model: nn.Module, inputs: dict[str, Tensor]) -> int:
    """Return how many tokens the first feed-forward layer of a model computes."""
    seen: list[int] = []
    layers = [one for one in model.base_model.modules() if isinstance(one, nn.Linear) and one.in_features == 32]
    linear = next(one for one in layers if one.out_features > 32)
    hook = linear.register_forward_hook(lambda module, given, outputs: seen.append(given[0][..., 0].numel()))
    model(**inputs)
    hook.remove()
    return seen[0]


def without_padding(outputs: Any, mask: Tensor) -> list[Tensor]:
    """Return all tensors of a model's outputs, of tokens those that are no padding."""
    tensors = [one for value in outputs.values() for one in (value if isinstance(value, tuple) else (value,))]
    return [one[mask.bool()] if one.shape[:2] == mask.shape else one for one in tensors]


def assert_same(found: Any, expected: Any, mask: Tensor) -> None:
    ours, theirs = without_padding(found, mask), without_padding(expected, mask)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).abs().max() <= 2e-6 * other.abs().max()


# --- the same numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_outputs_are_the_same_and_no_padding_is_computed(family: str, kind: str, folder_of: Any) -> None:
    plain, packed = both(folder_of(family), kind)
    inputs = inputs_of()
    with torch.inference_mode():
        assert_same(packed(**inputs), plain(**inputs), inputs["attention_mask"])
        assert rows_seen(plain, inputs) == inputs["input_ids"].numel()
        assert sum(LENGTHS) < rows_seen(packed, inputs) <= sum(LENGTHS) + 64


@pytest.mark.parametrize("family", FAMILIES)
def test_long_and_short_texts_in_one_batch(family: str, folder_of: Any) -> None:
    plain, packed = both(folder_of(family), "features")
    inputs = inputs_of([280, 5, 130, 70, 8, 140])
    with torch.inference_mode():
        assert_same(packed(**inputs), plain(**inputs), inputs["attention_mask"])
    assert rows_seen(packed, inputs) < inputs["input_ids"].numel() / 2


@pytest.mark.parametrize("lengths", [[30], [30, 30, 30, 30], [30, 29, 28, 30]])
@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_where_nothing_is_to_gain_the_plain_way_is_taken(lengths: list[int], family: str, folder_of: Any) -> None:
    plain, packed = both(folder_of(family))
    inputs = inputs_of(lengths)
    left = {name: tensor.flip(1) for name, tensor in inputs_of().items()}
    # Nor is anything packed without a mask, or with padding on the left.
    for given in (inputs, {"input_ids": inputs["input_ids"]}, left):
        assert torch.equal(packed(**given).logits, plain(**given).logits)
        assert rows_seen(packed, given) == given["input_ids"].numel()
        with torch.inference_mode():  # by products
            found, expected = packed(**given).logits, plain(**given).logits
        if given is not left or family == "bert":  # ModernBERT's first token is padding then, and sees nothing
            torch.testing.assert_close(found, expected, rtol=2e-6, atol=2e-7)


def test_kinds_of_tokens_and_choices_are_kept(folder_of: Any) -> None:
    inputs = inputs_of()
    inputs["token_type_ids"] = (torch.arange(60) > 4).long() * inputs["attention_mask"]
    for kind in ("sequence-classification", "multiple-choice"):
        plain, packed = both(folder_of("bert"), kind)
        if kind == "multiple-choice":
            inputs = {name: tensor.view(6, 2, -1) for name, tensor in inputs.items()}
        with torch.inference_mode():
            torch.testing.assert_close(packed(**inputs).logits, plain(**inputs).logits, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_hidden_states_are_padded_back(family: str, folder_of: Any) -> None:
    plain, packed = both(folder_of(family), "features")
    inputs = inputs_of()
    with torch.inference_mode():
        found, expected = (model(**inputs, output_hidden_states=True) for model in (packed, plain))
        assert_same(found, expected, inputs["attention_mask"])
        assert all(one.shape == expected.last_hidden_state.shape for one in found.hidden_states)
    # As a tuple, or with weights of attention, the answer is the plain one.
    assert torch.equal(packed(**inputs, return_dict=False)[0], plain(**inputs, return_dict=False)[0])


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradients_are_the_same(family: str, folder_of: Any) -> None:
    plain, packed = both(folder_of(family), "token-classification", dropout=0.0)
    inputs = inputs_of()
    for model in (plain, packed):
        model(**inputs).logits[inputs["attention_mask"].bool()].square().sum().backward()
    largest = max(one.grad.abs().max() for one in plain.parameters() if one.grad is not None)
    for (name, one), other in zip(packed.named_parameters(), plain.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None:
            assert (one.grad - other.grad).abs().max() < 2e-6 * largest, name


def curve(model: Any, *, bf16: bool = False) -> list[float]:
    """Return the losses of 20 steps over batches of uneven lengths."""
    for module in model.modules():
        if isinstance(module, nn.Dropout | FastDropout):
            module.p = 0.0
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for step in range(20):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(**inputs_of(seed=step % 4)).logits
        loss = nn.functional.cross_entropy(logits.float(), torch.arange(len(LENGTHS)) % 2)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert"])
def test_the_loss_curve_is_the_same(family: str, folder_of: Any) -> None:
    expected, found = (curve(model) for model in both(folder_of(family)))
    assert found == pytest.approx(expected, rel=1e-4)
    assert found[-1] < found[0] - 0.05, "it learns"


def test_bfloat16_stays_close(folder_of: Any) -> None:
    for lengths in (LENGTHS, [280, 5, 130, 70, 8, 140], [30, 30, 30]):
        plain, packed = both(folder_of("bert"))
        inputs = inputs_of(lengths)
        with torch.inference_mode():
            exact = plain(**inputs).logits
            with torch.autocast("cpu", torch.bfloat16):
                found, expected = packed(**inputs).logits.float(), plain(**inputs).logits.float()
        # As close to the exact numbers as bfloat16 is without packing.
        assert (found - exact).abs().max() < 2 * (expected - exact).abs().max() + 1e-3
    expected, found = (curve(model, bf16=True) for model in both(folder_of("bert")))
    assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("bf16", [False, True])
def test_dropout_is_drawn_and_repeatable(bf16: bool, folder_of: Any) -> None:
    model = build(folder_of("bert")).train()

    def logits(seed: int) -> Tensor:
        torch.manual_seed(seed)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            found: Tensor = model(**inputs_of()).logits
        return found

    assert torch.equal(logits(1), logits(1))
    assert not torch.equal(logits(1), logits(2))


def test_activations_computed_again_are_the_same(folder_of: Any) -> None:
    losses = []
    for again in (False, True):
        model = build(folder_of("bert"), gradient_checkpointing=again, dropout=0.0).train()
        loss = model(**inputs_of()).logits.square().sum()
        loss.backward()
        losses.append([loss.item(), model.get_input_embeddings().weight.grad.norm().item()])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


# --- beside the rest of headway ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["mpnet", "deberta-v2"])
def test_a_family_that_cannot_says_so_once(family: str, folder_of: Any, caplog: pytest.LogCaptureFixture) -> None:
    packing._say.cache_clear()
    with caplog.at_level(logging.INFO):
        plain, model = both(folder_of(family))
        build(folder_of(family))
    assert not is_packed(model)
    assert caplog.text.count(f"{family} models compute attention in a way of their own") == 1
    with torch.inference_mode():
        assert torch.equal(model(**inputs_of()).logits, plain(**inputs_of()).logits)


def test_attention_of_the_users_choice_stays(folder_of: Any, caplog: pytest.LogCaptureFixture) -> None:
    packing._say.cache_clear()
    with caplog.at_level(logging.INFO):
        model = build(folder_of("bert"), attn_implementation="eager")
    assert model.config._attn_implementation == "eager"
    assert "attn_implementation is eager" in caplog.text


def test_nothing_of_it_is_saved(folder_of: Any, tmp_path: Path) -> None:
    plain, packed = both(folder_of("bert"))
    assert list(packed.state_dict()) == list(plain.state_dict())
    tokenizer = load_backbone(ModelOptions(model_name_or_path=str(folder_of("bert")))).tokenizer
    for name, model in (("plain", plain), ("packed", packed)):
        save_model(model, tokenizer, tmp_path / name, extra={"labels": list(LABELS)})
    assert (tmp_path / "packed/config.json").read_text() == (tmp_path / "plain/config.json").read_text()
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "packed")
    assert theirs.config._attn_implementation == "sdpa"
    for name in ("plain", "packed"):
        ours, _ = load_model(tmp_path / name, "sequence-classification", allow_user_code=False)
        assert is_packed(ours) == (name == "packed"), "what was switched off stays off"
        torch.testing.assert_close(ours(**inputs_of()).logits, theirs(**inputs_of()).logits, rtol=2e-6, atol=2e-7)


def test_a_copy_is_a_model_of_its_own(folder_of: Any) -> None:
    model = build(folder_of("bert"))
    other = copy.deepcopy(model)
    expected = model(**inputs_of()).logits
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(other(**inputs_of()).logits, expected)
    assert rows_seen(other, inputs_of()) < inputs_of()["input_ids"].numel()


def test_an_adapter_is_merged(folder_of: Any, tmp_path: Path) -> None:
    plain, packed = both(folder_of("bert"), adapter="lora")
    for model in (plain, packed):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if ".default" in name:
                    parameter.fill_(0.05)
        before = model(**inputs_of()).logits
        save_and_merge(model, tmp_path / "adapter")
        torch.testing.assert_close(model(**inputs_of()).logits, before, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(packed(**inputs_of()).logits, plain(**inputs_of()).logits, rtol=2e-6, atol=2e-7)
    assert rows_seen(packed, inputs_of()) < inputs_of()["input_ids"].numel()


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "attention"])
def test_a_head_of_its_own_over_several_layers(pooling: str, folder_of: Any) -> None:
    plain, packed = both(folder_of("bert"), head="mlp", pooling=pooling, pooling_layers=2, freeze="all")
    with torch.inference_mode():
        found, expected = (model.vectors(**inputs_of()) for model in (packed, plain))
        torch.testing.assert_close(found, expected, rtol=2e-6, atol=2e-7)
        torch.testing.assert_close(
            packed(**inputs_of())["logits"], plain(**inputs_of())["logits"], rtol=2e-6, atol=2e-7
        )


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_windows(pooling: str, folder_of: Any) -> None:
    models = [WindowedModel(model, pooling=pooling).eval() for model in both(folder_of("roberta"))]
    with torch.inference_mode():
        plain, packed = (model(**inputs_of(), num_windows=torch.tensor([5, 1, 6]))["logits"] for model in models)
    torch.testing.assert_close(packed, plain, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_at_masked_positions(family: str, folder_of: Any) -> None:
    rows, columns = torch.tensor([1, 1, 4, 10]), torch.tensor([0, 59, 40, 2])
    with torch.inference_mode():
        plain, packed = (
            logits_at(model, inputs_of(), rows, columns)["logits"] for model in both(folder_of(family), "masked-lm")
        )
    torch.testing.assert_close(packed, plain, rtol=2e-6, atol=1e-6)


# --- CUDA -------------------------------------------------------------------------------------------------------------


def test_the_kernel_for_uneven_lengths_is_asked_rightly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is CUDA's alone, so one of its kind stands in, and what it is given and gives back is compared."""
    lengths = [40, 3, 17, 60]
    layout = Layout.of(inputs_of(lengths)["attention_mask"])
    assert layout is not None

    def kernel(q: Tensor, k: Tensor, v: Tensor, ends: Tensor, other: Tensor, most: int, more: int) -> Tensor:
        assert ends.dtype == other.dtype == torch.int32
        assert (most, more) == (int(ends.diff().max()), int(other.diff().max()))
        assert int(ends[-1]) == len(q)
        if len(q) == len(k):
            assert int(other[-1]) == len(k), "the surplus is a sequence of its own"
        k, v = (one[: int(other[-1])] for one in (k, v))
        sizes = (ends.diff().tolist(), *[other.diff().tolist()] * 2)
        parts = zip(*(one.split(size) for one, size in zip((q, k, v), sizes, strict=True)), strict=True)
        return torch.cat([attend(*part) for part in parts])

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (one.transpose(0, 1) for one in (q, k, v))
        return nn.functional.scaled_dot_product_attention(q, k, v).transpose(0, 1)

    monkeypatch.setattr(packing.varlen, "varlen_attn", kernel)
    q, k, v = torch.randn(3, layout.num_tokens, 2, 8)
    found = packing._by_sequence(q, k, v, layout)
    given = [one.transpose(0, 1)[None] for one in (q, k, v)]
    expected, _ = packing.attention(nn.Identity(), *given, None, layout=layout)
    torch.testing.assert_close(found[: sum(lengths)], expected[0, : sum(lengths)])
    # Where only first tokens ask, the others are keys and values still.
    first = layout.first(q.flatten(1)[None])[0].unflatten(-1, (2, 8))
    found = packing._by_sequence(first, k, v, layout)
    torch.testing.assert_close(found, layout.first(expected.flatten(2))[0].unflatten(-1, (2, 8)))


@pytest.mark.gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_on_cuda(family: str, folder_of: Any) -> None:
    plain, packed = (model.cuda() for model in both(folder_of(family)))
    inputs = {name: tensor.cuda() for name, tensor in inputs_of().items()}
    with torch.inference_mode():
        torch.testing.assert_close(packed(**inputs).logits, plain(**inputs).logits, rtol=1e-4, atol=1e-5)
        with torch.autocast("cuda", torch.bfloat16):
            found, expected = packed(**inputs).logits.float(), plain(**inputs).logits.float()
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.02)
