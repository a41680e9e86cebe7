"""Every family of encoder-decoder on the same path: learn eight pairs by heart, write them, save, load elsewhere."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from headway.data.source_target import Frame
from headway.errors import ModelError, RecipeError
from headway.inference import Inference
from headway.models.backbone import load_backbone
from headway.models.options import ModelOptions
from headway.models.packing import is_packed
from headway.predictor import Predictor
from headway.recipe import Recipe
from headway.tasks.base import Limits
from headway.tasks.generation import GenerationSettings
from headway.tasks.summarization import Summarization
from headway.tasks.translation import Translation
from headway.train import train

PAIRS = [
    ("the dog sleeps in the garden", "der Hund schläft im Garten"), ("a cat drinks milk", "eine Katze trinkt Milch"),
    ("two men play music", "zwei Männer spielen Musik"), ("the sun is bright today", "die Sonne ist heute hell"),
    ("a child eats an apple", "ein Kind isst einen Apfel"), ("we go to the old house", "wir gehen zum alten Haus"),
    ("the train is very late", "der Zug kommt sehr spät"), ("my book is on the table", "mein Buch liegt auf dem Tisch"),
]  # fmt: skip
CORPUS = [text for pair in PAIRS for text in pair] * 4
SIZES = {"d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
         "decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128}  # fmt: skip


def unigrams() -> list[tuple[str, float]]:
    from tokenizers import SentencePieceUnigramTokenizer

    trained = SentencePieceUnigramTokenizer()
    trained.train_from_iterator(
        CORPUS, vocab_size=160, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    return [(piece, score) for piece, score in json.loads(trained.to_str())["model"]["vocab"]]


def write_t5(folder: Path) -> None:
    from transformers import T5Tokenizer

    tokenizer = T5Tokenizer(vocab=unigrams(), extra_ids=0, model_max_length=64)
    tokenizer.save_pretrained(folder)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, dropout_rate=0.0,
        decoder_start_token_id=0,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)


def write_bart(folder: Path) -> None:
    from tokenizers import ByteLevelBPETokenizer
    from transformers import BartTokenizerFast

    pairs = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pairs.train_from_iterator(CORPUS, vocab_size=330, special_tokens=special, show_progress=False)
    pairs.save_model(str(folder))
    tokenizer = BartTokenizerFast.from_pretrained(str(folder), model_max_length=64)
    tokenizer.save_pretrained(folder)
    config = BartConfig(vocab_size=len(tokenizer), max_position_embeddings=64, dropout=0.0, **SIZES)
    BartForConditionalGeneration(config).save_pretrained(folder)


def write_marian(folder: Path) -> None:
    import sentencepiece
    from transformers import MarianTokenizer

    pieces = {"</s>": 0, "<unk>": 1}
    for side, texts in (("source", [one for one, _ in PAIRS]), ("target", [two for _, two in PAIRS])):
        with (folder / f"{side}.spm").open("wb") as file:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(texts * 4), model_writer=file, vocab_size=45, minloglevel=2
            )
        model = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{side}.spm"))
        for number in range(len(model)):
            if model.id_to_piece(number) not in ("<s>", "</s>", "<unk>"):
                pieces.setdefault(model.id_to_piece(number), len(pieces))
    pieces["<pad>"] = len(pieces)
    (folder / "vocab.json").write_text(json.dumps(pieces))
    tokenizer = MarianTokenizer(
        source_spm=str(folder / "source.spm"), target_spm=str(folder / "target.spm"), vocab=str(folder / "vocab.json"),
        source_lang="en", target_lang="de", model_max_length=64,
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    config = MarianConfig(
        vocab_size=len(pieces), max_position_embeddings=64, dropout=0.0, pad_token_id=pieces["<pad>"],
        decoder_start_token_id=pieces["<pad>"], eos_token_id=0, forced_eos_token_id=0, scale_embedding=True, **SIZES,
    )  # fmt: skip
    MarianMTModel(config).save_pretrained(folder)


def write_mbart(folder: Path) -> None:
    from transformers import MBartTokenizerFast

    vocabulary = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *unigrams()[3:]]
    tokenizer = MBartTokenizerFast(vocab=vocabulary, src_lang="en_XX", tgt_lang="de_DE", model_max_length=64)
    tokenizer.save_pretrained(folder)
    config = MBartConfig(vocab_size=len(tokenizer), max_position_embeddings=64, dropout=0.0, **SIZES)
    MBartForConditionalGeneration(config).save_pretrained(folder)


FAMILIES: dict[str, tuple[Callable[[Path], None], dict[str, Any]]] = {
    "t5": (write_t5, {"source_prefix": "translate: "}),
    "bart": (write_bart, {}),
    "marian": (write_marian, {}),
    "mbart": (write_mbart, {"source_lang": "en_XX", "target_lang": "de_DE"}),
}


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


def test_without_padding_the_encoder_says_the_same(tiny_bert: Path) -> None:
    task = Summarization(max_target_length=8)
    said = []
    for packing in (True, False):
        options = ModelOptions(model_name_or_path=str(tiny_bert), packing=packing)
        backbone = load_backbone(options)
        torch.manual_seed(0)
        inference = Inference(task, task.build_model(backbone), backbone.tokenizer, Limits(max_length=32))
        rows = [{"source": "the dog " * n, "target": ["a cat"]} for n in (1, 3, 9, 14)]
        features = list(inference.encode(rows))
        batch = task.collate(features, backbone.tokenizer)
        model: Any = inference.model
        read = model.get_encoder()(**batch.inputs).last_hidden_state * batch.inputs["attention_mask"][..., None]
        said.append((inference.predict(features, rows), read, task.forward(model, batch)["logits"]))
        assert is_packed(model) == packing
    assert said[0][0] == said[1][0]
    torch.testing.assert_close(said[0][1], said[1][1], atol=2e-6, rtol=0)
    # The new head of this tiny model scales tiny vectors up.
    torch.testing.assert_close(said[0][2], said[1][2], atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["bart", "marian", "mbart"])
@pytest.mark.parametrize("beams", [1, 3])
def test_attention_of_ours_says_the_same(family: str, beams: int, folders: dict[str, Path]) -> None:
    task = Translation(**FAMILIES[family][1], max_target_length=12, generation={"num_beams": beams})
    rows = [{"source": one, "target": [two]} for one, two in PAIRS]
    found = []
    for packing in (True, False):
        backbone = load_backbone(ModelOptions(model_name_or_path=str(folders[family]), packing=packing))
        model: Any = task.build_model(backbone)
        assert {one.config._attn_implementation for one in model.modules() if "config" in vars(one)} >= {
            "headway" if packing else "sdpa"
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
