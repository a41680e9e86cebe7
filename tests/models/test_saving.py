from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification, pipeline

from headway.errors import ModelError, RunError
from headway.models import saving
from headway.models.backbone import load_backbone
from headway.models.options import ModelOptions
from headway.models.saving import load_model, save_model

LABELS = ["no", "yes", "maybe"]
INPUTS = {
    "input_ids": torch.tensor([[2, 9, 10, 3], [2, 9, 3, 0]]),
    "attention_mask": torch.tensor([[1] * 4, [1, 1, 1, 0]]),
}


def train_and_save(folder, target, **options):
    """Build a model, change its weights as training would, save it; return the model."""
    backbone = load_backbone(ModelOptions(model_name_or_path=str(folder), **options))
    model = backbone.build("sequence-classification", labels=LABELS, num_labels=3).model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    save_model(model, backbone.tokenizer, target, extra={"labels": LABELS, "task": {"type": "text-classification"}})
    return model


def load(folder, *, allow_user_code=False):
    return load_model(folder, "sequence-classification", allow_user_code=allow_user_code)


@pytest.fixture
def saved(tiny_folder, tmp_path) -> Path:
    train_and_save(tiny_folder, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def saved_mlp(tiny_folder, tmp_path) -> Path:
    train_and_save(tiny_folder, tmp_path / "model", head="mlp")
    return tmp_path / "model"


def change_tensors(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_the_folder_is_transformers_own(tiny_folders, tmp_path, family):
    model = train_and_save(tiny_folders(family), tmp_path / "model")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    # headway's last layer multiplies fewer rows, which are added up in another order.
    torch.testing.assert_close(theirs(**INPUTS).logits, model(**INPUTS).logits, rtol=0, atol=1e-6)
    assert theirs.config.id2label == dict(enumerate(LABELS))


def test_the_pipeline_of_transformers_gives_the_same_label_and_score(saved):
    ours, tokenizer = load(saved)
    expected = ours(**tokenizer("good films", return_tensors="pt")).logits.detach().softmax(-1)[0]
    answer = pipeline("text-classification", model=str(saved), device="cpu")("good films")[0]
    assert answer["label"] == LABELS[int(expected.argmax())]
    assert answer["score"] == pytest.approx(float(expected.max()), rel=1e-6)


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "t5"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"head": "linear"},
        {"head": {"name": "mlp", "layer_size": 8}, "pooling": "mean", "dropout": 0.2},
        {"head": "linear", "pooling": "attention", "pooling_layers": 2},
    ],
    ids=["default", "linear", "mlp", "attention"],
)
def test_what_was_saved_comes_back(tiny_folders, tmp_path, family, options):
    inputs = {"input_ids": torch.tensor([[9, 10, 1]])} if family == "t5" else INPUTS
    model = train_and_save(tiny_folders(family), tmp_path / "model", **options)
    again, tokenizer = load(tmp_path / "model")
    assert not again.training
    weights = again.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    # Weights that lie elsewhere in memory are added up in another order.
    torch.testing.assert_close(again(**inputs)["logits"], model(**inputs)["logits"], rtol=0, atol=1e-6)
    assert tokenizer("good bad")["input_ids"] == [2, 31, 32, 3]


def test_under_another_head_lies_a_plain_backbone(tiny_folder, tmp_path):
    model = train_and_save(tiny_folder, tmp_path / "model", head="linear")
    theirs = AutoModel.from_pretrained(tmp_path / "model")
    expected = model.backbone(**INPUTS).last_hidden_state
    assert torch.equal(theirs(**INPUTS).last_hidden_state, expected)


def test_a_head_from_the_users_file(tiny_folder, tmp_path, monkeypatch):
    (tmp_path / "my_head.py").write_text(
        "from torch import nn\n"
        "class Deep(nn.Module):\n"
        "    def __init__(self, hidden_size, num_labels, width=4):\n"
        "        super().__init__()\n"
        "        self.layers = nn.Sequential(nn.Linear(hidden_size, width), nn.Linear(width, num_labels))\n"
        "    def forward(self, pooled):\n"
        "        return self.layers(pooled)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    model = train_and_save(tiny_folder, tmp_path / "model", head={"name": "my_head.Deep", "width": 6})
    with pytest.raises(ModelError, match=r"my_head\.Deep"):
        load(tmp_path / "model")
    again, _ = load(tmp_path / "model", allow_user_code=True)
    assert again.head.layers[0].out_features == 6
    assert torch.equal(again(**INPUTS)["logits"], model(**INPUTS)["logits"])


def test_a_saved_folder_is_a_backbone_to_train_further(saved):
    built = load_backbone(ModelOptions(model_name_or_path=str(saved))).build(
        "sequence-classification", labels=LABELS, num_labels=3
    )
    assert built.new_parameters == ()


def test_headway_json_says_what_it_is(saved):
    description = json.loads((saved / "headway.json").read_text())
    assert description["labels"] == LABELS
    assert description["task"] == {"type": "text-classification"}
    assert description["head"] == "default"
    assert set(description["files"]) == {path.name for path in saved.iterdir()} - {"headway.json"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("classifier.weight"), r"'classifier\.weight' is missing"),
        (lambda tensors: tensors.update(extra=torch.ones(1)), "'extra' has no place"),
        (lambda tensors: tensors.update({"classifier.bias": torch.ones(7)}), r"'classifier\.bias' has another shape"),
        (lambda tensors: tensors["classifier.bias"].fill_(float("nan")), r"'classifier\.bias' holds NaN"),
        (lambda tensors: tensors["classifier.bias"].add_(1), "SHA-256 differs"),
    ],
    ids=["missing", "extra", "shape", "nan", "altered"],
)  # fmt: skip
def test_a_tensor_that_is_wrong_is_named(saved, change, message):
    change_tensors(saved / "model.safetensors", change)
    with pytest.raises(ModelError, match=message):
        load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("head.0.weight"), r"'head\.0\.weight' is missing"),
        (lambda tensors: tensors.update(extra=torch.ones(1)), "'extra' has no place"),
        (lambda tensors: tensors.update({"head.0.bias": torch.ones(7)}), r"'head\.0\.bias' has another shape"),
        (lambda tensors: tensors["head.0.bias"].fill_(float("inf")), r"'head\.0\.bias' holds NaN or infinity"),
    ],
    ids=["missing", "extra", "shape", "inf"],
)
def test_a_tensor_of_a_head_that_is_wrong_is_named(saved_mlp, change, message):
    change_tensors(saved_mlp / "head.safetensors", change)
    with pytest.raises(ModelError, match=message):
        load(saved_mlp)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "head.safetensors", "headway.json", "tokenizer.json"]
)
def test_a_file_that_is_missing_is_named(saved_mlp, name):
    (saved_mlp / name).unlink()
    with pytest.raises(ModelError, match=name.split(".")[0] if name != "model.safetensors" else "no weights"):
        load(saved_mlp)


def test_labels_in_another_order_are_refused(saved, edit_json):
    edit_json(
        saved / "config.json", id2label={"0": "yes", "1": "no", "2": "maybe"}, label2id={"yes": 0, "no": 1, "maybe": 2}
    )
    with pytest.raises(ModelError, match="name different labels"):
        load(saved)


def test_a_tokenizer_of_another_model_is_refused(saved):
    content = json.loads((saved / "tokenizer.json").read_text())
    content["model"]["vocab"]["good"], content["model"]["vocab"]["bad"] = 32, 31
    (saved / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"tokenizer\.json is not the file that was saved"):
        load(saved)


def test_a_head_description_of_another_kind_is_refused(saved_mlp, edit_json):
    edit_json(saved_mlp / "headway.json", head={"name": "mlp"})
    with pytest.raises(ModelError, match="'head' is not what headway writes"):
        load(saved_mlp)


def test_a_mistyped_folder_gets_the_nearest(saved):
    with pytest.raises(ModelError, match="Did you mean 'model'"):
        load(saved.with_name("modle"))


def test_saving_replaces_the_folder_as_a_whole(saved, tiny_folder):
    (saved / "left-over").touch()
    saved.with_name(".model.writing-1").mkdir()
    model = train_and_save(tiny_folder, saved)
    assert not (saved / "left-over").exists()
    assert torch.equal(load(saved)[0](**INPUTS).logits, model(**INPUTS).logits)
    assert [path.name for path in saved.parent.iterdir() if path.name.startswith(".")] == []


def test_a_full_disk_leaves_the_model_before_whole(saved, tiny_folder, monkeypatch):
    before = (saved / "model.safetensors").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "flush", full)
    with pytest.raises(RunError, match="No space left"):
        train_and_save(tiny_folder, saved)
    assert (saved / "model.safetensors").read_bytes() == before
    assert sorted(path.name for path in saved.parent.iterdir()) == ["model", "tiny"]


@pytest.mark.parametrize("at", range(1, 3))
def test_a_rename_that_fails_leaves_one_whole_model(saved, tiny_folder, monkeypatch, at):
    before, rename, calls = (saved / "model.safetensors").read_bytes(), Path.rename, []

    def failing(self, target):
        calls.append(target)
        if len(calls) == at:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(RunError, match="Input/output error"):
        train_and_save(tiny_folder, saved)
    assert (saved / "model.safetensors").read_bytes() == before
    assert sorted(path.name for path in saved.parent.iterdir()) == ["model", "tiny"]


def test_an_interrupted_save_is_told_apart_from_a_typo(saved):
    saved.rename(saved.with_name(".model.previous"))
    with pytest.raises(ModelError, match=r"A save was interrupted and left the one before in .*\.model\.previous"):
        load(saved)


def test_a_model_of_no_known_kind_is_our_bug(tmp_path):
    with pytest.raises(TypeError, match="Linear"):
        save_model(torch.nn.Linear(1, 1), None, tmp_path / "model", extra={})
    assert list(tmp_path.iterdir()) == []


def test_a_copy_elsewhere_loads(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "other" / "place")
    assert load(tmp_path / "other" / "place")[0].config.id2label[0] == "no"
