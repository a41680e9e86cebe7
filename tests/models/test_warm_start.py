from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from headway.errors import ModelError
from headway.models.backbone import load_backbone
from headway.models.folder_checks import check_folder
from headway.models.options import ModelOptions
from headway.models.safe_loading import load_config
from headway.models.warm_start import FAMILIES, load_encoder_decoder


def build(folder: Path, **options: Any) -> Any:
    return load_backbone(ModelOptions(model_name_or_path=str(folder), **options)).build("seq2seq").model


def test_both_halves_hold_the_weights_of_the_encoder(tiny_bert: Path) -> None:
    model = build(tiny_bert)
    encoder, decoder = model.encoder.state_dict(), model.decoder.bert.state_dict()
    shared = [name for name in decoder if name in encoder]
    assert len(shared) > 30
    assert all(torch.equal(encoder[name], decoder[name]) for name in shared)
    assert {name.split(".crossattention.")[0] for name in decoder if name not in encoder} == {
        "encoder.layer.0", "encoder.layer.1"
    }  # fmt: skip
    # They are two copies: training one leaves the other.
    assert model.encoder.embeddings.word_embeddings.weight is not model.decoder.bert.embeddings.word_embeddings.weight


def test_the_head_writes_with_the_embeddings_of_words(tiny_bert: Path) -> None:
    model = build(tiny_bert)
    assert model.decoder.get_output_embeddings().weight is model.decoder.get_input_embeddings().weight


def test_the_decoder_sees_no_later_token(tiny_bert: Path) -> None:
    model = build(tiny_bert)
    source = torch.tensor([[2, 7, 8, 3]])
    said = [model(input_ids=source, decoder_input_ids=torch.tensor([[2, 9, last]])).logits[:, :2] for last in (10, 11)]
    torch.testing.assert_close(said[0], said[1])
    other = model(input_ids=torch.tensor([[2, 17, 18, 3]]), decoder_input_ids=torch.tensor([[2, 9, 10]])).logits
    assert not torch.allclose(said[0], other[:, :2])


@pytest.mark.parametrize("family", ["tiny_bert", "tiny_roberta"])
def test_the_tokens_that_open_close_and_pad_are_those_of_the_tokenizer(
    family: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(family)
    backbone = load_backbone(ModelOptions(model_name_or_path=str(folder)))
    tokenizer, model = backbone.tokenizer, backbone.build("seq2seq").model
    for config in (model.config, model.generation_config):
        assert config.decoder_start_token_id == tokenizer.cls_token_id
        assert config.eos_token_id == tokenizer.sep_token_id
        assert config.pad_token_id == tokenizer.pad_token_id


def loaded(folder: Path, config: Any, tokenizer: Any) -> Any:
    return load_encoder_decoder(folder, config=config, tokenizer=tokenizer, weights=check_folder(folder))


def test_the_configuration_given_is_left_as_it_was(tiny_bert: Path) -> None:
    tokenizer = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert))).tokenizer
    config = load_config(tiny_bert)
    before = copy.deepcopy(config.to_dict())
    found = loaded(tiny_bert, config, tokenizer)
    assert config.to_dict() == before
    assert all(".crossattention." in name or "cls." in name or "pooler" in name for name in found.missing)
    assert {name.split(".")[0] for name in found.missing} <= {"encoder", "decoder"}


def test_what_cannot_become_a_decoder_is_refused(tiny_bert: Path, tiny_distilbert: Path) -> None:
    tokenizer = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert))).tokenizer
    with pytest.raises(ModelError, match="a distilbert model has no decoder") as caught:
        loaded(tiny_distilbert, load_config(tiny_distilbert), tokenizer)
    assert all(family in str(caught.value) for family in FAMILIES)
    odd = copy.deepcopy(tokenizer)
    odd.pad_token = None
    with pytest.raises(ModelError, match="the tokenizer has no token for pad_token_id"):
        loaded(tiny_bert, load_config(tiny_bert), odd)


def test_weights_of_another_size_are_refused(tiny_bert: Path) -> None:
    tokenizer = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert))).tokenizer
    config = load_config(tiny_bert)
    config.num_hidden_layers = 3
    with pytest.raises(ModelError, match=r"do not fit the configuration: '.*layer\.2.*' is missing"):
        loaded(tiny_bert, config, tokenizer)
