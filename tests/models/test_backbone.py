from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from headway.errors import ModelError, RecipeError
from headway.models import backbone as module
from headway.models.backbone import load_backbone
from headway.models.dropout import FastDropout
from headway.models.location import Location
from headway.models.options import ModelOptions

INPUTS = {"input_ids": torch.tensor([[2, 9, 10, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
BODY = "encoder.layer.0.output.dense.bias"
LABELS = ("no", "yes", "maybe")


def backbone_of(folder, **options):
    return load_backbone(ModelOptions(model_name_or_path=str(folder), **options))


def build(folder, *, labels=LABELS, problem_type="single_label_classification", **options):
    return backbone_of(folder, **options).build(
        "sequence-classification", labels=labels, num_labels=len(labels) or 1, problem_type=problem_type
    )


def change_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "albert", "modernbert", "deberta-v2", "t5"])
@pytest.mark.parametrize("head", ["default", "linear"])
def test_families_are_built_in_float32_with_a_new_head_only(tiny_folders, family, head):
    # T5's own head reads the place of the end token, 1.
    inputs = {"input_ids": torch.tensor([[9, 10, 1]])} if family == "t5" else INPUTS
    built = build(tiny_folders(family), head=head)
    names = {name for name, _ in built.model.named_parameters()}
    assert {parameter.dtype for parameter in built.model.parameters()} == {torch.float32}
    assert built.model(**inputs)["logits"].shape == (1, 3)
    assert built.new_parameters
    assert set(built.new_parameters) < names
    assert not built.model.training


def test_what_is_known_before_the_weights_are_read(tiny_folders):
    found = backbone_of(tiny_folders("bert"))
    assert found.folder == tiny_folders("bert")
    assert len(found.sha256) == 64
    assert str(tiny_folders("bert")) in found.origin
    assert found.tokenizer("good film")["input_ids"] == [2, 31, 33, 3]


def test_label_names_and_problem_type_are_stored(tiny_folders):
    config = build(tiny_folders("bert")).model.config
    assert config.id2label == {0: "no", 1: "yes", 2: "maybe"}
    assert config.label2id == {"no": 0, "yes": 1, "maybe": 2}
    assert config.problem_type == "single_label_classification"


def test_a_number_has_a_name_too(tiny_folders):
    config = build(tiny_folders("bert"), labels=(), problem_type="regression").model.config
    assert config.id2label == {0: "value"}
    assert config.num_labels == 1


def test_equal_labels_are_refused(tiny_folders):
    with pytest.raises(ValueError, match="different labels"):
        build(tiny_folders("bert"), labels=("a", "a"))


@pytest.mark.parametrize(
    ("kind", "output"),
    [
        ("token-classification", "logits"), ("question-answering", "start_logits"), ("multiple-choice", "logits"),
        ("masked-lm", "logits"), ("features", "last_hidden_state"),
    ],
)  # fmt: skip
def test_every_kind_is_built(tiny_folders, kind, output):
    num_labels = 3 if kind == "token-classification" else 0
    built = backbone_of(tiny_folders("bert")).build(kind, labels=LABELS[:num_labels], num_labels=num_labels)
    inputs = {name: ids[None] for name, ids in INPUTS.items()} if kind == "multiple-choice" else INPUTS
    assert output in built.model(**inputs)


def test_each_build_is_a_model_of_its_own(tiny_folders):
    found = backbone_of(tiny_folders("bert"))
    first, second = (found.build("features").model for _ in range(2))
    with torch.no_grad():
        first.embeddings.word_embeddings.weight.zero_()
    assert second.embeddings.word_embeddings.weight.any()


def test_a_new_head_follows_the_seed(tiny_folders):
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        weights.append(build(tiny_folders("bert")).model.classifier.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_head_for_other_labels_is_made_anew_and_reported(tiny_folders, tmp_path):
    model = build(tiny_folders("bert"), labels=("a", "b")).model
    model.save_pretrained(tmp_path / "two")
    backbone_of(tiny_folders("bert")).tokenizer.save_pretrained(tmp_path / "two")
    assert build(tmp_path / "two").new_parameters == ("classifier.bias", "classifier.weight")
    assert build(tmp_path / "two", labels=("c", "d")).new_parameters == ()


def test_a_pooler_that_the_file_lacks_is_new_and_trained(tiny_folder):
    change_weights(tiny_folder, lambda tensors: [tensors.pop(n) for n in list(tensors) if n.startswith("pooler")])
    built = build(tiny_folder, freeze="all")
    trained = {name for name, parameter in built.model.named_parameters() if parameter.requires_grad}
    assert trained == set(built.new_parameters)
    assert "bert.pooler.dense.weight" in trained


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop(BODY), r"encoder\.layer\.0\.output\.dense\.bias' is missing"),
        (lambda tensors: tensors.update({BODY: torch.ones(3)}), r"\[3\] in the file, \[32\]"),
        (lambda tensors: tensors[BODY].fill_(float("nan")), "NaN"),
    ],
    ids=["missing", "shape", "nan"],
)  # fmt: skip
def test_a_body_that_is_not_whole_is_refused(tiny_folder, change, message):
    change_weights(tiny_folder, change)
    with pytest.raises(ModelError, match=message):
        build(tiny_folder)


@pytest.mark.parametrize("head", ["default", "linear"])
@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert", "deberta-v2", "t5"])
def test_dropout_is_set_everywhere_but_in_the_attention(tiny_folders, family, head):
    model = build(tiny_folders(family), dropout=0.37, head=head).model
    rates = {name: one.p for name, one in model.named_modules() if isinstance(one, nn.Dropout | FastDropout)}
    outside = {rate for name, rate in rates.items() if "attn" not in name and "attention" not in name.lower()}
    assert outside == {0.37}


def test_dropout_before_a_head_is_that_of_the_config_by_default(tiny_folders, tmp_path):
    assert build(tiny_folders("bert"), head="linear").model.dropout.p == 0.1


def test_gradient_checkpointing_changes_no_gradient(tiny_folders):
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        built = build(tiny_folders("bert"), gradient_checkpointing=checkpointing, dropout=0.0, freeze=1)
        model = built.model.train()
        assert model.bert.encoder.layer[1].gradient_checkpointing == checkpointing
        model(**INPUTS)["logits"].square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert not any("layer.0" in name for name in gradients[0])
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_freezing_reaches_the_body_of_both_heads(tiny_folders):
    for head in ("default", "mlp"):
        built = build(tiny_folders("bert"), freeze="all", head=head)
        trained = {name for name, parameter in built.model.named_parameters() if parameter.requires_grad}
        assert trained == set(built.new_parameters)


def test_attention_is_as_asked(tiny_folders):
    model = build(tiny_folders("bert"), attn_implementation="eager").model
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"pooling": "mean"}, "sequence-classification", "pools in its own way"),
        ({"head": "linear"}, "pretraining", "Use model.head: default"),
        ({"head": "linear"}, "features", "Use model.head: default"),
        ({"head": "linear", "pooling": "mean"}, "token-classification", "a vector for each token"),
        ({"pooling": "attention"}, "features", "cls, mean or max"),
        ({"pooling_layers": 2}, "sequence-classification", "sees the last layer only"),
        ({"head": "linear", "pooling_layers": 3}, "sequence-classification", "has 2 layers"),
        ({"freeze": 5}, "sequence-classification", "has 2 layers"),
        ({"head": "liner"}, "sequence-classification", "Did you mean 'linear'"),
    ],
)
def test_options_that_do_not_suit_are_explained(tiny_folders, options, kind, message):
    with pytest.raises(RecipeError, match=message):
        backbone_of(tiny_folders("bert"), **options).build(kind, labels=LABELS, num_labels=3)


@pytest.mark.parametrize(
    ("options", "message"), [({"trust_remote_code": True}, "run code"), ({"head": "mine.Head"}, "mine.Head")]
)
def test_a_strangers_recipe_names_no_code(tiny_folders, options, message):
    options = ModelOptions(model_name_or_path=str(tiny_folders("bert")), **options)
    with pytest.raises(ModelError, match=message):
        load_backbone(options, allow_user_code=False)


def test_other_weights_under_the_embedded_name_are_refused(tiny_folder, monkeypatch):
    monkeypatch.setattr(module, "locate", lambda *_, **__: Location(tiny_folder, "somewhere", is_embedded=True))
    with pytest.raises(ModelError, match="expected SHA-256 53aa5117"):
        load_backbone(ModelOptions())


@pytest.mark.slow
def test_the_embedded_backbone_is_whole():
    built = load_backbone(ModelOptions()).build("sequence-classification", labels=LABELS, num_labels=3)
    assert built.new_parameters == ("classifier.bias", "classifier.weight")
