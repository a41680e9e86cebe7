"""Every family of encoder-decoder on the same path: learn eight pairs by heart, write them, save, load elsewhere."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tests.encoder_decoders import FAMILIES, PAIRS
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from headway.data.source_target import Frame
from headway.errors import ModelError, RecipeError
from headway.inference import Inference
from headway.models import packing
from headway.models.backbone import load_backbone
from headway.models.options import ModelOptions
from headway.models.packing import is_packed
from headway.models.sharing import share_body
from headway.predictor import Predictor
from headway.recipe import Recipe
from headway.tasks.base import Limits
from headway.tasks.generation import GenerationSettings
from headway.tasks.summarization import Summarization
from headway.tasks.text_classification import TextClassification
from headway.tasks.translation import Translation
from headway.train import train


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    for name, (write, _) in FAMILIES.items():
        torch.manual_seed(0)
        (root / name).mkdir()
        write(root / name)
    return {name: root / name for name in FAMILIES}


@pytest.fixture(scope="module")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    path.write_text("".join(json.dumps({"source": one, "target": two}) + "\n" for one, two in PAIRS))
    return path


def by_heart(folder: Path, pairs_file: Path, task: dict[str, Any], **sections: Any) -> Recipe:
    return Recipe.from_dict({
        "task": {"type": "translation", "max_target_length": 32, **task},
        "data": {"train": str(pairs_file), "validation": str(pairs_file), "max_length": 32},
        "model": {"model_name_or_path": str(folder), **sections.pop("model", {})},
        "optimization": {"learning_rate": 4e-3, "warmup_ratio": 0.1},
        "training": {
            "max_steps": 150, "per_device_train_batch_size": 8, "bf16": False, "eval_steps": 150, "baselines": False,
            **sections.pop("training", {}),
        },
    })  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_eight_pairs_are_learnt_by_heart_saved_and_loaded_by_others(
    family: str, folders: dict[str, Path], pairs_file: Path, tmp_path: Path
) -> None:
    recipe = by_heart(folders[family], pairs_file, FAMILIES[family][1])
    metrics = train(recipe, output_dir=tmp_path / "run")
    assert metrics["metrics"]["validation"]["bleu"]["value"] == pytest.approx(100)
    sources, targets = [one for one, _ in PAIRS], [two for _, two in PAIRS]
    predictor = Predictor.load(tmp_path / "run")
    assert [one.value for one in predictor.stream([{"source": one} for one in sources])] == targets

    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "run" / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    prefix = FAMILIES[family][1].get("source_prefix", "")
    inputs = tokenizer([prefix + one for one in sources], return_tensors="pt", padding=True)
    inputs.pop("token_type_ids", None)
    said = tokenizer.batch_decode(model.generate(**inputs), skip_special_tokens=True)
    assert [one.strip() for one in said] == targets


@pytest.mark.parametrize("family", FAMILIES)
def test_a_source_and_a_target_are_what_the_tokenizer_makes_of_them(family: str, folders: dict[str, Path]) -> None:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(folders[family])))
    task = Translation(**FAMILIES[family][1])
    (features,) = task.encode({"source": PAIRS[0][0], "target": [PAIRS[0][1]]}, backbone.tokenizer, Limits())
    expected = backbone.tokenizer(task.source_prefix + PAIRS[0][0], text_target=PAIRS[0][1])
    assert features.inputs["input_ids"] == expected["input_ids"]
    assert features.targets["labels"] == expected["labels"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_that_of_transformers(family: str, folders: dict[str, Path]) -> None:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(folders[family])))
    task = Translation(**FAMILIES[family][1])
    model: Any = task.build_model(backbone)
    rows = [{"source": one, "target": [two]} for one, two in PAIRS]
    features = [one for row in rows for one in task.encode(row, backbone.tokenizer, Limits())]
    batch = task.collate(features, backbone.tokenizer)
    ours = task.loss(task.forward(model, batch), batch, torch.nn.functional.cross_entropy)
    theirs = model(**batch.inputs, labels=batch.targets["labels"]).loss
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_an_encoder_becomes_an_encoder_decoder(tiny_bert: Path, pairs_file: Path, tmp_path: Path) -> None:
    recipe = by_heart(tiny_bert, pairs_file, {}, model={"dropout": 0.0}, training={"max_steps": 2, "eval_steps": 2})
    train(recipe, output_dir=tmp_path / "run")
    folder = tmp_path / "run" / "model"
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert str(tiny_bert) not in (folder / "config.json").read_text()
    predictor = Predictor.load(tmp_path / "run")
    for source, _ in PAIRS[:3]:
        inputs = tokenizer(source, return_tensors="pt", return_token_type_ids=False)
        said = tokenizer.decode(model.generate(**inputs)[0], skip_special_tokens=True).strip()
        assert predictor.predict(source).value == said


@pytest.mark.parametrize("family", ["bert", "bart", "marian", "mbart"])
def test_without_padding_the_encoder_says_the_same(family: str, tiny_bert: Path, folders: dict[str, Path]) -> None:
    task = Summarization(max_target_length=8)
    said, tokens = [], {}
    for is_on in (True, False):
        path = tiny_bert if family == "bert" else folders[family]
        backbone = load_backbone(ModelOptions(model_name_or_path=str(path), packing=is_on))
        torch.manual_seed(0)
        inference = Inference(task, task.build_model(backbone), backbone.tokenizer, Limits(max_length=32))
        rows = [{"source": "the dog " * n, "target": ["a cat"]} for n in (1, 3, 9, 14)] * 8
        features = list(inference.encode(rows))
        batch = task.collate(features, backbone.tokenizer)
        encoder: Any = inference.model.get_encoder()  # type: ignore[operator]
        read = encoder(**batch.inputs, output_hidden_states=True)
        tokens[is_on] = _tokens_computed(encoder, batch.inputs)
        mask = batch.inputs["attention_mask"][..., None]
        hidden = torch.stack([read.last_hidden_state, *read.hidden_states]) * mask
        outputs = task.forward(inference.model, batch)
        torch.nn.functional.cross_entropy(outputs["logits"], outputs["labels"]).backward()
        gradient = next(one for name, one in encoder.named_parameters() if "layer" in name and one.dim() == 2).grad
        said.append((inference.predict(features, rows), hidden, outputs["logits"], gradient))
        assert is_packed(inference.model) == is_on
    assert tokens[False] == mask.numel()
    assert tokens[True] <= mask.sum() + 64 < mask.numel()
    assert said[0][0] == said[1][0]
    torch.testing.assert_close(said[0][1], said[1][1], atol=4e-6, rtol=0)
    # The new head of a tiny model made of an encoder scales tiny vectors up.
    torch.testing.assert_close(said[0][2], said[1][2], atol=1e-4, rtol=0)
    torch.testing.assert_close(said[0][3], said[1][3], atol=1e-5, rtol=0)


def _tokens_computed(encoder: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> int:
    """Return how many tokens the last layer of an encoder computes."""
    seen: list[int] = []
    layers = [one for name, one in encoder.named_modules() if "layer" in name and isinstance(one, torch.nn.Linear)]
    hook = layers[-1].register_forward_hook(lambda module, given, outputs: seen.append(outputs[..., 0].numel()))
    encoder(**inputs)
    hook.remove()
    return seen[0]


def test_dropped_layers_keep_their_padding(folders: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    packing._say.cache_clear()
    backbone = load_backbone(ModelOptions(model_name_or_path=str(folders["bart"])))
    backbone.config.encoder_layerdrop = 0.5
    task = Summarization()
    with caplog.at_level("INFO"):
        model: Any = task.build_model(backbone)
    assert "encoder_layerdrop" in caplog.text
    inputs = {"input_ids": torch.tensor([[5, 6, 7, 8], [5, 1, 1, 1]] * 40)}
    inputs["attention_mask"] = (inputs["input_ids"] > 1).long()
    assert _tokens_computed(model.eval().get_encoder(), inputs) == inputs["input_ids"].numel()


@pytest.mark.parametrize("family", ["bart", "marian", "mbart"])
@pytest.mark.parametrize("beams", [1, 3])
def test_attention_of_ours_says_the_same(family: str, beams: int, folders: dict[str, Path]) -> None:
    task = Translation(**FAMILIES[family][1], max_target_length=12, generation={"num_beams": beams})
    rows = [{"source": one, "target": [two]} for one, two in PAIRS]
    found = []
    for is_on in (True, False):
        backbone = load_backbone(ModelOptions(model_name_or_path=str(folders[family]), packing=is_on))
        model: Any = task.build_model(backbone)
        assert {one.config._attn_implementation for one in model.modules() if "config" in vars(one)} >= {
            "headway" if is_on else "sdpa"
        }
        inference = Inference(task, model, backbone.tokenizer, Limits(max_length=32))
        features = list(inference.encode(rows))
        batch = task.collate(features, backbone.tokenizer)
        outputs = task.forward(model, batch)
        loss = task.loss(outputs, batch, torch.nn.functional.cross_entropy)
        loss.backward()
        gradient = model.get_decoder().layers[0].self_attn.q_proj.weight.grad
        found.append((inference.predict(features, rows), outputs["logits"], gradient))
    assert found[0][0] == found[1][0]
    torch.testing.assert_close(found[0][1], found[1][1], atol=2e-6, rtol=0)
    torch.testing.assert_close(found[0][2], found[1][2], atol=1e-6, rtol=0)


def test_one_encoder_serves_a_task_that_writes_and_one_that_does_not(tiny_bert: Path) -> None:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert)))
    writer: Any = Summarization().build_model(backbone)
    judge: Any = TextClassification(labels=("a", "b"), problem_type="single_label_classification").build_model(backbone)
    share_body([judge, writer])
    ours, theirs = dict(judge.bert.named_parameters()), dict(writer.encoder.named_parameters())
    assert theirs
    assert all(ours[name] is one for name, one in theirs.items())
    assert not any(one is ours.get(name.removeprefix("bert.")) for name, one in writer.decoder.named_parameters())


def test_sampling_repeats_itself_and_touches_no_other_draws(tiny_bert: Path) -> None:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert)))
    task = Summarization(max_target_length=8, generation={"do_sample": True, "temperature": 3.0})
    inference = Inference(task, task.build_model(backbone), backbone.tokenizer, Limits(max_length=32))
    rows = [{"source": text} for text in ("the dog", "a cat and a dog", "rain")]
    torch.manual_seed(1)
    first, drawn = list(inference.stream(rows)), torch.rand(1)
    second = list(inference.stream(rows))
    assert first == second
    torch.manual_seed(1)
    assert torch.rand(1) == drawn


def test_a_text_that_was_cut_off_says_so(tiny_bert: Path) -> None:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert)))
    for least, expected in ((7, False), (None, None)):
        task = Summarization(max_target_length=8, generation={"min_new_tokens": least})
        inference = Inference(task, task.build_model(backbone), backbone.tokenizer, Limits(max_length=32))
        (prediction,) = inference.stream([{"source": "the dog"}])
        assert expected is None or prediction.detail == {"is_finished": expected}


def test_a_family_without_a_decoder_is_refused(tiny_distilbert: Path) -> None:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_distilbert)))
    with pytest.raises(ModelError, match="a distilbert model has no decoder and cannot be made into one"):
        Summarization().build_model(backbone)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reinit_layers": 1}, r"model\.reinit_layers: it is for encoders alone"),
        ({"freeze": 1, "cache_frozen": True}, r"model\.cache_frozen: it is for encoders alone"),
        ({"num_hidden_layers": 1}, r"model\.num_hidden_layers: it is for encoders alone"),
        (
            {"adapter": {"name": "lora"}},
            r"model\.adapter: .* is an encoder, and the decoder made of it must be trained",
        ),
        ({"adapter": {"name": "prefix"}}, r"model\.adapter: prefix is for encoders alone"),
        ({"head": {"name": "mlp"}}, "a seq2seq model has no head"),
    ],
)
def test_options_for_encoders_are_refused(options: dict[str, Any], message: str, tiny_bert: Path) -> None:
    backbone = load_backbone(ModelOptions.model_validate({"model_name_or_path": str(tiny_bert), **options}))
    with pytest.raises(RecipeError, match=message):
        Summarization().build_model(backbone)


def test_a_frozen_encoder_stays_and_the_decoder_learns(tiny_bert: Path) -> None:
    for freeze in ("all", 1):
        backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert), freeze=freeze))
        model: Any = Summarization().build_model(backbone)
        trained = {name for name, one in model.named_parameters() if one.requires_grad}
        assert not any(name.startswith(("encoder.embeddings", "encoder.encoder.layer.0")) for name in trained)
        assert any(name.startswith("encoder.encoder.layer.1") for name in trained) == (freeze == 1)
        assert "decoder.bert.encoder.layer.0.attention.self.query.weight" in trained


def test_an_adapter_of_a_pretrained_decoder_is_merged(
    folders: dict[str, Path], pairs_file: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    task = FAMILIES["t5"][1]
    lora = {"adapter": {"name": "lora", "r": 4, "target_modules": ["q", "v"]}}
    recipe = by_heart(folders["t5"], pairs_file, task, model=lora, training={"max_steps": 4, "eval_steps": 4})
    train(recipe, output_dir=tmp_path / "run")
    config = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text())
    assert config["task_type"] is None or config["task_type"] == "SEQ_2_SEQ_LM"
    AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "run" / "model")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_beams": 1, "length_penalty": 2.0}, "length_penalty does nothing without num_beams above 1"),
        ({"temperature": 0.5}, "temperature does nothing without do_sample: true"),
        ({"top_p": 1.5}, "less than or equal to 1"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GenerationSettings(**settings)


def test_t5_without_a_prefix_is_warned_of(folders: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(folders["t5"])))
    with caplog.at_level(logging.WARNING):
        Translation().build_model(backbone)
    assert "task.source_prefix is empty" in caplog.text


def test_a_model_of_many_languages_wants_to_know_them(folders: dict[str, Path]) -> None:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(folders["mbart"])))
    with pytest.raises(RecipeError, match=r"task\.source_lang is empty"):
        Translation().build_model(backbone)
    model: Any = Translation(source_lang="en_XX", target_lang="de_DE").build_model(backbone)
    assert model.generation_config.decoder_start_token_id == backbone.tokenizer.convert_tokens_to_ids("de_DE")


def test_special_tokens_are_found_by_looking(folders: dict[str, Path]) -> None:
    tokenizer = load_backbone(ModelOptions(model_name_or_path=str(folders["bart"]))).tokenizer
    assert Frame.of(tokenizer) == Frame((tokenizer.bos_token_id,), (tokenizer.eos_token_id,))
