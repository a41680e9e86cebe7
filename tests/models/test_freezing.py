from __future__ import annotations

import pytest
import torch
from transformers import AutoModel

from headway.errors import RecipeError
from headway.importing import Choice
from headway.models.backbone import load_backbone
from headway.models.freezing import freeze, parts_of
from headway.models.options import KINDS, ModelOptions
from headway.models.windows import WindowedModel

FAMILIES = {
    "bert": "encoder.layer.", "distilbert": "transformer.layer.", "roberta": "encoder.layer.",
    "electra": "encoder.layer.", "mpnet": "encoder.layer.", "modernbert": "layers.", "deberta-v2": "encoder.layer.",
    "t5": "encoder.block.",
}  # fmt: skip


def frozen_names(model):
    return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_lowest_layers_and_the_embeddings_are_frozen(tiny_folders, family):
    model = AutoModel.from_pretrained(tiny_folders(family))
    freeze(model, how=1)
    frozen, layers = frozen_names(model), FAMILIES[family]
    names = {name for name, _ in model.named_parameters()}
    lowest = {name for name in names if name.startswith(f"{layers}0.")}
    assert lowest
    assert lowest <= frozen
    assert not any(name.startswith(f"{layers}1.") for name in frozen)
    assert any("embed" in name or name.startswith("shared") for name in frozen)
    assert all(name.startswith(layers) or "pooler" in name or "final" in name or "decoder" in name
               for name in names - frozen)  # fmt: skip


def test_zero_freezes_the_embeddings_alone(tiny_folders):
    model = AutoModel.from_pretrained(tiny_folders("bert"))
    freeze(model, how=0)
    assert frozen_names(model) == {name for name, _ in model.named_parameters() if name.startswith("embeddings.")}


def test_dropout_stays_on_with_some_layers_frozen_and_goes_with_all(tiny_folders):
    inputs = {"input_ids": torch.tensor([[2, 9, 10, 11, 3]])}
    some, every = AutoModel.from_pretrained(tiny_folders("bert")), AutoModel.from_pretrained(tiny_folders("bert"))
    expected = every(**inputs).last_hidden_state
    freeze(some, how=2)
    freeze(every, how="all")
    assert not torch.equal(some.train()(**inputs).last_hidden_state, expected)
    assert torch.equal(every.train()(**inputs).last_hidden_state, expected)
    assert not every(**inputs).last_hidden_state.requires_grad


def test_all_leaves_what_nobody_pretrained(tiny_folders):
    model = AutoModel.from_pretrained(tiny_folders("bert"))
    freeze(model, how="all", new_parameters={"pooler.dense.weight"})
    assert frozen_names(model) == {name for name, _ in model.named_parameters()} - {"pooler.dense.weight"}


def test_none_freezes_nothing(tiny_folders):
    model = AutoModel.from_pretrained(tiny_folders("bert"))
    freeze(model, how="none")
    assert not frozen_names(model)


@pytest.mark.parametrize(
    ("family", "how", "message"),
    [
        ("bert", 3, "is 3, but the model has 2 layers"),
        ("albert", 1, "share their weights"),
        ("longformer", 1, "not known for 'longformer'"),
    ],
)
def test_what_cannot_be_frozen_is_explained(tiny_folders, family, how, message):
    with pytest.raises(RecipeError, match=message):
        freeze(AutoModel.from_pretrained(tiny_folders(family)), how=how)


def test_albert_freezes_its_embeddings_or_all(tiny_folders):
    model = AutoModel.from_pretrained(tiny_folders("albert"))
    freeze(model, how=0)
    assert all("embedding" in name for name in frozen_names(model))
    assert frozen_names(model)
    freeze(model, how="all")
    assert not any(parameter.requires_grad for parameter in model.parameters())


def names_of_parts(model):
    """Return the names of the parameters of each part, from the bottom up."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    parts = parts_of(model, option="a.b", instead="Use c")
    return [{names[id(one)] for module in part for one in module.parameters()} for part in parts]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_parts_of_a_body_from_the_bottom_up(tiny_folders, family):
    embeddings, *layers = names_of_parts(AutoModel.from_pretrained(tiny_folders(family)))
    assert any("embed" in name or name.startswith("shared") for name in embeddings)
    assert len(layers) == 2
    for number, names in enumerate(layers):
        assert names
        assert all(name.startswith(f"{FAMILIES[family]}{number}.") for name in names)


@pytest.mark.parametrize(
    ("kind", "head"),
    [*((kind, "default") for kind in KINDS if kind != "seq2seq"), ("sequence-classification", "mlp")],
)
def test_the_body_is_found_under_any_head_and_in_windows(tiny_folders, kind, head):
    options = ModelOptions(model_name_or_path=str(tiny_folders("bert")), head=Choice(name=head))
    model = load_backbone(options).build(kind, num_labels=2 if "classification" in kind else 0).model
    for one in (model, WindowedModel(model, pooling="attention")):
        embeddings, *layers = names_of_parts(one)
        assert all("embeddings." in name for name in embeddings)
        assert [{name.partition("layer.")[2][0] for name in names} for names in layers] == [{"0"}, {"1"}]


def test_layers_of_an_encoder_decoder_are_not_told_apart(tiny_folders):
    model = load_backbone(ModelOptions(model_name_or_path=str(tiny_folders("bert")))).build("seq2seq").model
    with pytest.raises(RecipeError, match=r"layerwise_lr_decay: which layers are the lowest is not known for"):
        parts_of(model, option="optimization.layerwise_lr_decay", instead="Leave it empty")


@pytest.mark.parametrize(("family", "message"), [("albert", "share their weights"), ("longformer", "not known for")])
def test_layers_that_cannot_be_told_apart_are_named(tiny_folders, family, message):
    with pytest.raises(RecipeError, match=rf"a\.b: .*{message}.* Use c"):
        parts_of(AutoModel.from_pretrained(tiny_folders(family)), option="a.b", instead="Use c")
