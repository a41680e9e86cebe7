from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.encoder_decoders import FAMILIES
from transformers import BartConfig, BartForConditionalGeneration

from headway.models import generation
from headway.models.backbone import load_backbone
from headway.models.generation import IGNORED, encode, encoder_of, end_tokens, generate, target_logits
from headway.models.options import ModelOptions

INPUTS = {
    "input_ids": torch.tensor([[2, 7, 8, 9, 3], [2, 11, 3, 0, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
}


@pytest.fixture(scope="module")
def model(tiny_bert: Path) -> Any:
    torch.manual_seed(0)
    return load_backbone(ModelOptions(model_name_or_path=str(tiny_bert))).build("seq2seq").model.eval()


@pytest.fixture(scope="module")
def bart() -> Any:
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=40, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=32,
    )  # fmt: skip
    return BartForConditionalGeneration(config).eval()


def test_the_encoder_is_the_part_that_reads(model: Any, tiny_bert: Path) -> None:
    assert encoder_of(model) is model.encoder
    alone: Any = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert))).build("features").model
    assert encoder_of(alone) is alone.base_model


def test_padding_has_no_logits(bart: Any) -> None:
    labels = torch.tensor([[5, 6, 2], [7, 2, IGNORED]])
    found = target_logits(bart, INPUTS, labels)
    assert found["labels"].tolist() == [5, 6, 2, 7, 2]
    whole = bart(**INPUTS, labels=labels).logits
    torch.testing.assert_close(found["logits"], whole[labels != IGNORED])


def test_the_token_that_starts_the_decoder_need_not_be_learnt(model: Any) -> None:
    start = model.config.decoder_start_token_id
    with_start = target_logits(model, INPUTS, torch.tensor([[start, 9, 3], [start, 3, IGNORED]]))
    assert with_start["labels"].tolist() == [9, 3, 3]
    without = target_logits(model, INPUTS, torch.tensor([[9, 3], [3, IGNORED]]))
    torch.testing.assert_close(with_start["logits"], without["logits"])


def test_what_is_written_is_what_the_logits_say(bart: Any) -> None:
    written = generate(bart, INPUTS, {"max_new_tokens": 5, "num_beams": 1})["sequences"]
    for row, sequence in enumerate(written):
        one = {name: values[row : row + 1] for name, values in INPUTS.items()}
        for place in range(1, len(sequence)):
            logits = bart(**one, decoder_input_ids=sequence[None, :place]).logits[0, -1]
            if place == 5:  # the last token before the limit is forced to be the end
                break
            assert logits.argmax() == sequence[place]


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2}], ids=str)
@pytest.mark.parametrize("family", ["t5", "bart", "marian", "mbart", "bert"])
def test_sources_are_read_in_slices_of_like_length(
    family: str, settings: dict[str, Any], tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if family != "bert":
        torch.manual_seed(0)
        FAMILIES[family][0](tmp_path)
    options = ModelOptions(model_name_or_path=str(tiny_bert if family == "bert" else tmp_path), packing=False)
    model: Any = load_backbone(options).build("seq2seq").model
    lengths = torch.tensor([3, 20, 4, 30, 2, 19])
    mask = (torch.arange(30) < lengths[:, None]).long()
    given = {"input_ids": torch.randint(5, 30, mask.shape) * mask, "attention_mask": mask}
    settings = {"max_new_tokens": 9, **settings}
    expected = model.generate(**given, **settings)
    monkeypatch.setattr(generation, "TOKENS_PER_SLICE", 40)
    seen: list[tuple[int, ...]] = []
    hook = model.get_encoder().register_forward_hook(
        lambda module, arguments, output: seen.append(tuple(output.last_hidden_state.shape[:2]))
    )
    assert torch.equal(generate(model, given, settings)["sequences"], expected)
    assert seen == [(1, 30), (2, 20), (3, 4)]
    hook.remove()
    found = encode(model, given).last_hidden_state * mask[..., None]
    whole = model.get_encoder()(**given).last_hidden_state * mask[..., None]
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=2e-6)


def test_a_text_that_reached_its_limit_has_not_come_to_an_end(model: Any) -> None:
    end = model.generation_config.eos_token_id
    cut = generate(model, INPUTS, {"max_new_tokens": 4, "min_new_tokens": 4, "num_beams": 1})
    assert cut["sequences"].shape == (2, 5)
    assert cut["is_finished"].tolist() == [False, False]
    ended = generate(model, INPUTS, {"max_new_tokens": 4, "forced_eos_token_id": end, "num_beams": 1})
    assert ended["is_finished"].tolist() == [True, True]


@pytest.mark.parametrize(
    "settings", [{}, {"min_new_tokens": 6}, {"repetition_penalty": 1.3}, {"max_new_tokens": 9}], ids=str
)
@pytest.mark.parametrize("family", ["t5", "bart", "marian", "mbart", "bert"])
def test_texts_that_ended_leave_the_batch_and_the_others_write_the_same(
    family: str, settings: dict[str, Any], tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_model = random_writer(family, tiny_bert, tmp_path)
    torch.manual_seed(1)
    lengths = torch.randint(3, 12, (24,))
    inputs = {
        "input_ids": torch.randint(5, 60, (24, 12)),
        "attention_mask": (torch.arange(12) < lengths[:, None]).long(),
    }
    # Random models would say one word again and again.
    settings = {"max_new_tokens": 24, "num_beams": 1, "no_repeat_ngram_size": 2, **settings}
    monkeypatch.setattr(generation, "FEWEST_TO_PART", 1000)
    together = generate(any_model, inputs, settings)
    monkeypatch.setattr(generation, "FEWEST_TO_PART", 2)
    sizes: list[int] = []
    write = any_model.generate
    monkeypatch.setattr(any_model, "generate", lambda **k: (sizes.append(len(k["input_ids"])), write(**k))[1])
    apart = generate(any_model, inputs, settings)
    assert len(sizes) > 1, "the texts of this model do not end one after another"
    assert sizes == sorted(set(sizes), reverse=True)
    assert torch.equal(apart["sequences"], together["sequences"])
    assert torch.equal(apart["is_finished"], together["is_finished"])


def random_writer(family: str, tiny_bert: Path, tmp_path: Path) -> Any:
    """Return a model whose random texts end early and late."""
    folder = tiny_bert
    if family != "bert":
        folder = tmp_path / family
        folder.mkdir()
        FAMILIES[family][0](folder)
    torch.manual_seed(0)
    found: Any = load_backbone(ModelOptions(model_name_or_path=str(folder))).build("seq2seq").model.eval()
    with torch.no_grad():
        for one in found.parameters():
            one.add_(torch.randn_like(one), alpha=0.3)
    # A text of random words ends with any of these.
    found.generation_config.eos_token_id = list(
        range(3, found.config.decoder.vocab_size if family == "bert" else found.config.vocab_size, 3)
    )
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {"num_beams": 2},
        {"do_sample": True},
        {"num_return_sequences": 2, "do_sample": True},
        {"max_time": 9.0},
        {"use_cache": False},
        None,
    ],
    ids=str,
)
def test_texts_that_share_something_stay_together(
    settings: dict[str, Any] | None, bart: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "FEWEST_TO_PART", 1)
    calls: list[Any] = []
    write = bart.generate
    monkeypatch.setattr(bart, "generate", lambda **k: (calls.append(k), write(**k))[1])
    # Without a number of new tokens the model's own length holds, which counts from the start.
    given = {"max_length": 9} if settings is None else {"max_new_tokens": 8, **settings}
    generate(bart, INPUTS, given)
    assert len(calls) == 1
    assert "stopping_criteria" not in calls[0]


def test_sampling_is_seeded_by_what_is_read(model: Any) -> None:
    settings = {"max_new_tokens": 6, "do_sample": True, "temperature": 5.0, "num_beams": 1}
    state = torch.get_rng_state()
    first = generate(model, INPUTS, settings)["sequences"]
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(7)
    assert torch.equal(generate(model, INPUTS, settings)["sequences"], first)
    others = {"input_ids": INPUTS["input_ids"].clone(), "attention_mask": INPUTS["attention_mask"]}
    others["input_ids"][0, 1] = 12
    assert not torch.equal(generate(model, others, settings)["sequences"][1], first[1])


def test_sampling_that_the_folder_asks_for_is_seeded_too(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.generation_config, "do_sample", True)
    settings = {"max_new_tokens": 6, "temperature": 5.0, "num_beams": 1}
    state = torch.get_rng_state()
    first = generate(model, INPUTS, settings)["sequences"]
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(7)
    assert torch.equal(generate(model, INPUTS, settings)["sequences"], first)


@pytest.mark.parametrize(("given", "expected"), [(3, [3]), ([3, 4], [3, 4]), (None, [])])
def test_tokens_that_end_a_text(given: Any, expected: list[int], bart: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bart.generation_config, "eos_token_id", given)
    assert end_tokens(bart) == expected
