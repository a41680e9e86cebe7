from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.data.test_vocabulary import corpus
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, MarianMTModel

from headway.data.vocabulary import train_vocabulary
from headway.errors import RecipeError
from headway.models.backbone import load_backbone
from headway.models.new_model import ModelSize, write_new_model
from headway.models.options import ModelOptions
from headway.models.safe_loading import load_tokenizer, load_weights

SIZE = ModelSize(num_layers=2, d_model=32, num_heads=4, ffn_dim=64, max_length=24)
SOURCES = ["der Hund läuft", "die Katze schläft", "das Kind sitzt", "ein Mann steht"]
TARGETS = ["the dog went", "the cat slept", "the child sat", "a man stood"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("new-model")
    tokenizer = train_vocabulary(corpus(), vocab_size=600, max_length=SIZE.max_length)
    assert write_new_model(place, tokenizer, SIZE, seed=0) == MarianMTModel.from_pretrained(place).num_parameters()
    return place


def batch(tokenizer: Any) -> dict[str, torch.Tensor]:
    inputs = tokenizer(SOURCES, padding=True, return_tensors="pt")
    labels = tokenizer(text_target=TARGETS, padding=True, return_tensors="pt")["input_ids"]
    return {**inputs, "labels": labels.masked_fill(labels == tokenizer.pad_token_id, -100)}


def test_transformers_reads_the_folder(folder: Path) -> None:
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert isinstance(model, MarianMTModel)
    assert tokenizer.is_fast
    for one in (tokenizer, load_tokenizer(folder, config=model.config)):
        ids = one("Die Tür </s>")["input_ids"]
        assert ids.index(one.eos_token_id) == len(ids) - 1
        assert one.decode(ids, skip_special_tokens=True) == "Die Tür </s>"
    for config in (model.config, model.generation_config):
        assert (config.pad_token_id, config.decoder_start_token_id) == (tokenizer.pad_token_id,) * 2
        assert config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.max_length == SIZE.max_length
    assert model.lm_head.weight is model.get_encoder().embed_tokens.weight


def test_headway_accepts_the_folder_and_draws_nothing_anew(folder: Path) -> None:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(folder)))
    assert len(backbone.tokenizer) == backbone.config.vocab_size == 600
    loaded = load_weights(
        backbone.folder, auto_class="AutoModelForSeq2SeqLM", config=backbone.config, weights=backbone.weights
    )
    assert (loaded.missing, loaded.unexpected, loaded.mismatched) == ((), (), {})
    assert all(one.isfinite().all() for one in loaded.model.state_dict().values())


def test_the_positions_are_sines(folder: Path) -> None:
    table = MarianMTModel.from_pretrained(folder).get_encoder().embed_positions.weight
    assert table.shape == (SIZE.max_length, SIZE.d_model)
    assert table[3, 0].item() == pytest.approx(math.sin(3))
    assert table[3, SIZE.d_model // 2].item() == pytest.approx(math.cos(3))


def test_positions_are_not_trained_for_they_are_not_saved(folder: Path, tmp_path: Path) -> None:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(folder)))
    model = load_weights(
        folder, auto_class="AutoModelForSeq2SeqLM", config=backbone.config, weights=backbone.weights
    ).model
    assert [name for name, one in model.named_parameters() if not one.requires_grad] == [
        "model.encoder.embed_positions.weight",
        "model.decoder.embed_positions.weight",
    ]
    rows = batch(backbone.tokenizer)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(3):
        model(**rows).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)(**rows).logits
        torch.testing.assert_close(again, model(**rows).logits)


def test_it_begins_as_one_that_guesses_learns_and_comes_to_an_end(folder: Path) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder)
    rows = batch(tokenizer)
    with torch.no_grad():
        before = model(**rows).loss.item()
    assert before == pytest.approx(math.log(600), abs=0.3)
    sources = {name: rows[name] for name in ("input_ids", "attention_mask")}
    untrained = model.generate(**sources, do_sample=False)
    assert untrained.shape[1] <= SIZE.max_length
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(200):
        model(**rows).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        assert model(**rows).loss.item() < 0.1
    answers = model.generate(**sources, do_sample=False)
    assert tokenizer.batch_decode(answers, skip_special_tokens=True) == TARGETS


def test_the_seed_alone_draws_the_weights(tmp_path: Path) -> None:
    tokenizer = train_vocabulary(corpus(), vocab_size=600, max_length=24)
    torch.manual_seed(7)
    following = torch.rand(1)
    torch.manual_seed(7)
    for number, seed in enumerate((0, 0, 1)):
        (tmp_path / str(number)).mkdir()
        write_new_model(tmp_path / str(number), tokenizer, SIZE, seed=seed)
    first, second, third = ((tmp_path / str(number) / "model.safetensors").read_bytes() for number in range(3))
    assert first == second
    assert first != third
    assert torch.rand(1) == following


@pytest.mark.parametrize(("d_model", "num_heads", "offered"), [(250, 4, 248), (33, 1, 32), (4, 3, 6)])
def test_a_width_that_the_heads_cannot_share_is_refused(d_model: int, num_heads: int, offered: int) -> None:
    with pytest.raises(RecipeError, match=f"{offered} is"):
        ModelSize(d_model=d_model, num_heads=num_heads).check()
    ModelSize(d_model=offered, num_heads=num_heads).check()
