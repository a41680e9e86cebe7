"""After core training the core is kept: any task starts from the run, and other tools load it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tests.conftest import WORDS

from headway.evaluate import evaluate
from headway.models.backbone import load_backbone
from headway.models.options import KINDS, ModelOptions
from headway.predictor import Predictor
from headway.recipe import Recipe
from headway.train import train

FAMILIES = ["tiny_bert", "tiny_roberta", "tiny_distilbert"]


def trained(backbone: Path, folder: Path, **task: Any) -> Path:
    text = folder / "texts.txt"
    words = [WORDS[n % 60] for n in range(0, 60 * 11, 11)]
    sentences = [f"The {one} {WORDS[n]} was in the {WORDS[59 - n]}. It was very {one}." for n, one in enumerate(words)]
    text.write_text("\n".join(sentences), encoding="utf-8")
    recipe = {
        "task": {"type": "pretraining", "join_documents": 100, **task},
        "data": {"train": str(text), "format": "text", "document": "line", "validation": 0.2, "max_length": 32},
        "model": {"model_name_or_path": str(backbone)},
        "optimization": {"learning_rate": 1e-3},
        "training": {"max_steps": 6, "per_device_train_batch_size": 8, "bf16": False},
    }
    train(Recipe.from_dict(recipe), output_dir=folder / "core")
    return folder / "core"


@pytest.fixture(scope="module")
def cores(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: trained(request.getfixturevalue(name), tmp_path_factory.mktemp(name)) for name in FAMILIES}


def built(folder: Path, kind: str) -> Any:
    num_labels = 3 if kind in ("sequence-classification", "token-classification") else 0
    return load_backbone(ModelOptions(model_name_or_path=str(folder))).build(kind, num_labels=num_labels)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "seq2seq"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_task_starts_from_the_trained_body(
    family: str, kind: str, cores: dict[str, Path], request: pytest.FixtureRequest
) -> None:
    whole = transformers.AutoModelForMaskedLM.from_pretrained(cores[family] / "model")
    expected = dict(whole.base_model.named_parameters())
    untrained = dict(transformers.AutoModel.from_pretrained(request.getfixturevalue(family)).named_parameters())
    built_model = built(cores[family], kind)
    body = dict(built_model.model.base_model.named_parameters())
    assert set(expected) <= set(body)
    assert all(torch.equal(body[name], tensor) for name, tensor in expected.items())
    assert not any(torch.equal(body[name], untrained[name]) for name in expected if name.endswith("weight"))
    # Nothing but heads is new, and a pooler, which masked language modelling does not train.
    prefix = f"{built_model.model.base_model_prefix}."
    assert all(not name.startswith(prefix) or ".pooler." in name for name in built_model.new_parameters)
    if kind == "masked-lm":
        assert built_model.new_parameters == ()


@pytest.mark.parametrize("family", ["tiny_bert", "tiny_roberta"])
def test_both_halves_of_what_writes_start_from_the_trained_body(family: str, cores: dict[str, Path]) -> None:
    whole = transformers.AutoModelForMaskedLM.from_pretrained(cores[family] / "model")
    found = built(cores[family], "seq2seq")
    for half in (found.model.encoder, found.model.decoder.base_model):
        held = dict(half.named_parameters())
        assert all(torch.equal(held[name], tensor) for name, tensor in whole.base_model.named_parameters())
    # The language-model head is pretrained, too; only what joins the halves is new, and a pooler.
    assert found.new_parameters
    assert all(".crossattention." in name or ".pooler." in name for name in found.new_parameters)


@pytest.mark.parametrize("family", FAMILIES)
def test_other_tools_load_it_with_equal_logits(family: str, cores: dict[str, Path]) -> None:
    folder = cores[family] / "model"
    predictor = Predictor.load(cores[family])
    tokenizer = predictor.tokenizer
    text = f"the old {tokenizer.mask_token} was good"
    inputs = tokenizer(text, return_tensors="pt")
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    with torch.no_grad():
        assert torch.allclose(theirs(**inputs).logits, predictor.inference.model(**inputs).logits, atol=1e-5)
    filled = transformers.pipeline("fill-mask", model=str(folder), device="cpu")(text)
    ours = predictor.predict(text).detail["masks"][0]
    assert [one["score"] for one in filled] == pytest.approx([one["probability"] for one in ours], abs=1e-5)
    assert filled[0]["token_str"].strip() == ours[0]["token"]
    assert theirs.get_output_embeddings().weight is theirs.get_input_embeddings().weight


def test_the_run_tells_its_scores_and_those_it_has_to_beat(cores: dict[str, Path]) -> None:
    metrics = json.loads((cores["tiny_bert"] / "metrics.json").read_text())
    assert not metrics["higher_is_better"]
    for name in ("untrained", "unigram"):
        assert set(metrics["baselines"][name]["validation"]) == {"perplexity", "mlm_accuracy"}
    assert metrics["metrics"]["validation"]["perplexity"]["value"] > 1
    assert [table["title"] for table in metrics["details"]["validation"]["tables"]]


def test_a_text_file_is_scored_as_the_validation_rows_are(cores: dict[str, Path]) -> None:
    result = evaluate(cores["tiny_bert"], str(cores["tiny_bert"].parent / "texts.txt"))
    assert result["rows"] < 60
    assert result["tokens_lost"] == 0
    assert 1 < result["metrics"]["data"]["perplexity"]["value"] < 1e4


def test_with_next_sentences_both_heads_are_saved(tiny_bert: Path, tmp_path: Path) -> None:
    core = trained(tiny_bert, tmp_path, next_sentence=True)
    metrics = json.loads((core / "metrics.json").read_text())
    assert set(metrics["metrics"]["validation"]) == {"perplexity", "mlm_accuracy", "nsp_accuracy"}
    assert metrics["baselines"]["unigram"]["validation"]["nsp_accuracy"]["value"] == pytest.approx(0.5, abs=0.1)
    predictor = Predictor.load(core)
    theirs = transformers.AutoModelForPreTraining.from_pretrained(core / "model").eval()
    inputs = predictor.tokenizer("the old film", "it was good", return_tensors="pt")
    with torch.no_grad():
        expected, found = theirs(**inputs), predictor.inference.model(**inputs)
    assert torch.allclose(expected.prediction_logits, found.prediction_logits, atol=1e-5)
    assert torch.allclose(expected.seq_relationship_logits, found.seq_relationship_logits, atol=1e-5)
    answer = predictor.predict({"text": "the old film", "text_pair": "it was good"})
    assert 0 < answer.detail["is_next"] < 1
    assert "is_next" not in predictor.predict("the old film").detail
    assert transformers.pipeline("fill-mask", model=str(core / "model"), device="cpu")("the [MASK] film")


@pytest.mark.slow
def test_the_meditations_are_learnt(shared_data: Path, tmp_path: Path) -> None:
    """In 120 steps minilm, whose head is new, passes the unigram model (578 against 654; untrained above 40,000)."""
    overrides = {
        "model.model_name_or_path": "minilm",
        "data.train": str(shared_data / "meditations" / "clean.txt"),
        "data.max_length": 64,
        "task.next_sentence": False,
        "optimization.learning_rate": 1e-3,
        "training.max_steps": 120,
    }
    metrics = train(Recipe.load("meditations", overrides), output_dir=tmp_path / "run")
    found = metrics["metrics"]["validation"]["perplexity"]["value"]
    before = {name: one["validation"]["perplexity"]["value"] for name, one in metrics["baselines"].items()}
    assert found < 0.95 * before["unigram"]
    assert found < before["untrained"] / 10


def test_the_wikitext_recipe_reads_its_set_from_a_local_copy(tiny_bert: Path, tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    lines = ["", " = Lobster = \n", "", *(f" The {word} is very old . It is not {word} . \n" for word in WORDS[:40])]
    splits = ("train", "validation", "test")
    DatasetDict({name: Dataset.from_dict({"text": lines}) for name in splits}).save_to_disk(str(tmp_path / "set"))
    overrides = {
        "model.model_name_or_path": str(tiny_bert),
        **{f"data.{name}": f"hub:{tmp_path / 'set'}[{name}]" for name in splits},
        "training.max_steps": 1,
        "training.bf16": False,
    }
    metrics = train(Recipe.load("wikitext2", overrides), output_dir=tmp_path / "run")
    assert set(metrics["metrics"]) == {"validation", "test"}
