from __future__ import annotations

import ast
import hashlib
import socket
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import headway
from headway.errors import ModelError
from headway.models.folder_checks import check_folder
from headway.models.safe_loading import (
    load_config,
    load_tensors,
    load_tokenizer,
    load_weights,
    sha256_of,
    sha256_of_weights,
)


def load(folder, auto_class="AutoModel"):
    config = load_config(folder)
    return load_weights(folder, auto_class=auto_class, config=config, weights=check_folder(folder))


def change_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_local_folder_opens_no_socket(tiny_folder, monkeypatch):
    def refuse(*arguments, **_):
        pytest.fail(f"opened a socket: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    load_tokenizer(tiny_folder, config=load_config(tiny_folder))
    load(tiny_folder, "AutoModelForSequenceClassification")


def test_weights_come_in_float32_whatever_the_file_holds(tiny_folder, edit_json):
    edit_json(tiny_folder / "config.json", dtype="bfloat16")
    change_weights(tiny_folder, lambda tensors: tensors.update({n: t.bfloat16() for n, t in tensors.items()}))
    assert {parameter.dtype for parameter in load(tiny_folder).model.parameters()} == {torch.float32}


def test_new_tensors_are_reported_and_not_printed(tiny_folder, capfd):
    loaded = load(tiny_folder, "AutoModelForSequenceClassification")
    assert loaded.missing == ("classifier.bias", "classifier.weight")
    assert loaded.unexpected == ()
    assert capfd.readouterr() == ("", "")


def test_differing_shapes_are_reported_with_both(tiny_folder):
    change_weights(tiny_folder, lambda tensors: tensors.update({"pooler.dense.bias": torch.zeros(7)}))
    assert load(tiny_folder).mismatched == {"pooler.dense.bias": "[7] in the file, [32] in the model"}


def test_verbosity_is_restored(tiny_folder):
    before = transformers.utils.logging.get_verbosity()
    load(tiny_folder)
    assert transformers.utils.logging.get_verbosity() == before
    assert transformers.utils.logging.is_progress_bar_enabled()


@pytest.mark.parametrize(
    "change", [{"vocab_size": 10**12}, {"hidden_size": 2 * 10**6}, {"max_position_embeddings": 10**11}], ids=str
)
def test_absurd_sizes_are_refused_before_memory_is_taken(tiny_folder, edit_json, change):
    edit_json(tiny_folder / "config.json", **change)
    with pytest.raises(ModelError, match="does not belong to these weights"):
        load(tiny_folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "no-such"}, "no-such"),
        ({"hidden_act": "no-such"}, "no-such"),
        ({"hidden_size": "x"}, "hidden_size"),
    ],
)
def test_a_config_that_cannot_be_built_names_the_folder(tiny_folder, edit_json, change, message):
    edit_json(tiny_folder / "config.json", **change)
    with pytest.raises(ModelError, match=message) as caught:
        load(tiny_folder)
    assert str(tiny_folder) in str(caught.value)


def test_a_family_without_the_head_is_named(tiny_folders):
    with pytest.raises(ModelError, match="AutoModelForMultipleChoice"):
        load(tiny_folders("t5"), "AutoModelForMultipleChoice")


@pytest.mark.parametrize("text", ["{}", "{", '{"version": "1.0"}'])
def test_a_damaged_tokenizer_is_named(tiny_folder, text):
    (tiny_folder / "tokenizer.json").write_text(text)
    with pytest.raises(ModelError, match="tokenizer"):
        load_tokenizer(tiny_folder, config=load_config(tiny_folder))


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused(tiny_folder, edit_json):
    edit_json(tiny_folder / "config.json", vocab_size=20)
    with pytest.raises(ModelError, match="knows 35 tokens, but the model has embeddings for 20"):
        load_tokenizer(tiny_folder, config=load_config(tiny_folder))


def test_hashes(tiny_folder):
    expected = hashlib.sha256((tiny_folder / "model.safetensors").read_bytes()).hexdigest()
    assert sha256_of(tiny_folder / "model.safetensors") == expected
    assert sha256_of_weights(check_folder(tiny_folder)) == expected


def test_tensors_of_a_file(tmp_path):
    save_file({"a": torch.arange(3)}, tmp_path / "x.safetensors")
    assert load_tensors(tmp_path / "x.safetensors")["a"].tolist() == [0, 1, 2]
    with pytest.raises(ModelError, match=r"lacks y\.safetensors"):
        load_tensors(tmp_path / "y.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e5m2])
def test_a_tensor_that_is_not_a_number_is_named(tmp_path, value, dtype):
    path = tmp_path / "x.safetensors"
    save_file(
        {"good": torch.ones(2), "numbers": torch.arange(2), "bad.weight": torch.tensor([1, value]).to(dtype)}, path
    )
    with pytest.raises(ModelError, match=r"x\.safetensors: the tensor 'bad\.weight' holds NaN or infinity"):
        load_tensors(path)


def test_large_numbers_whose_sum_is_infinite_are_numbers(tmp_path):
    save_file({"large": torch.full((4,), 3e38)}, tmp_path / "x.safetensors")
    assert load_tensors(tmp_path / "x.safetensors")["large"].isfinite().all()


def test_numbers_of_8_bits_are_numbers(tmp_path):
    save_file({"small": torch.ones(4).to(torch.float8_e4m3fn)}, tmp_path / "x.safetensors")
    assert load_tensors(tmp_path / "x.safetensors")["small"].float().tolist() == [1, 1, 1, 1]


def test_weights_that_are_not_numbers_are_refused(tiny_folder):
    change_weights(tiny_folder, lambda tensors: tensors["pooler.dense.bias"].fill_(float("nan")))
    with pytest.raises(ModelError, match=r"model\.safetensors: the tensor 'pooler\.dense\.bias' holds NaN"):
        load(tiny_folder)


def test_a_tokenizer_is_the_same_before_and_after_its_first_text(tiny_folder, edit_json):
    shipped = {"max_length": 8, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    edit_json(tiny_folder / "tokenizer.json", truncation=shipped)
    tokenizer = load_tokenizer(tiny_folder, config=load_config(tiny_folder))
    before = tokenizer.backend_tokenizer.to_str()
    tokenizer("a text", truncation=False)
    assert tokenizer.backend_tokenizer.to_str() == before


def calls_in(path):
    """Yield the dotted name, the keywords and the place of each call in a source file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            yield ast.unparse(node.func), keywords, f"{path.name}:{node.lineno}"


def test_pretrained_models_are_read_here_and_nowhere_else():
    for path in Path(headway.__file__).parent.rglob("*.py"):
        for name, keywords, place in calls_in(path):
            assert not name.endswith(".from_pretrained") or path.name == "safe_loading.py", place
            assert name != "torch.load" or keywords.get("weights_only") == "True", place
            assert not name.startswith(("pickle.load", "joblib.load")), place


def test_every_reading_call_states_what_it_trusts():
    source = Path(headway.__file__).parent / "models" / "safe_loading.py"
    calls = [keywords for name, keywords, _ in calls_in(source) if name.endswith(".from_pretrained")]
    assert len(calls) == 3
    for keywords in calls:
        assert keywords["local_files_only"] == "True"
        assert keywords["trust_remote_code"] == "trust_remote_code"
