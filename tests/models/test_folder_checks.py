from __future__ import annotations

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from headway.errors import ModelError
from headway.models.folder_checks import check_folder, read_shapes


def shard(folder):
    """Split the weights in two files with an index; return the path of the index."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[:5], "model-00002-of-00002.safetensors": names[5:]}
    for file, inside in parts.items():
        save_file({name: tensors[name] for name in inside}, folder / file)
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, inside in parts.items() for name in inside}}))
    return index


def test_a_whole_folder_passes_and_its_shapes_are_read(tiny_folder):
    weights = check_folder(tiny_folder)
    expected = {name: tuple(tensor.shape) for name, tensor in load_file(tiny_folder / "model.safetensors").items()}
    assert weights.shapes == expected
    assert weights.elements == sum(tensor.numel() for tensor in load_file(tiny_folder / "model.safetensors").values())


def test_a_sharded_folder_passes(tiny_folder):
    expected = check_folder(tiny_folder).shapes
    shard(tiny_folder)
    weights = check_folder(tiny_folder)
    assert weights.shapes == expected
    assert len(weights.files) == 2


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (["config.json"], "no config.json"),
        (["model.safetensors"], "no weights"),
        (["tokenizer.json"], "no tokenizer"),
    ],
)
def test_what_is_missing_is_named(tiny_folder, missing, message):
    for name in missing:
        (tiny_folder / name).unlink()
    with pytest.raises(ModelError, match=message):
        check_folder(tiny_folder)


@pytest.mark.parametrize("text", ["{", "[]", "\udcff", "[" * 100_000], ids=["cut", "list", "bytes", "deep"])
def test_a_damaged_config_is_named(tiny_folder, text):
    (tiny_folder / "config.json").write_text(text, errors="surrogateescape")
    with pytest.raises(ModelError, match=r"config\.json"):
        check_folder(tiny_folder)


def test_a_pickle_is_explained_without_advice_to_open_it(tiny_folder):
    (tiny_folder / "model.safetensors").rename(tiny_folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="save_pretrained") as caught:
        check_folder(tiny_folder)
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize("keep", [4, 100, 10_000, -1])
def test_weights_cut_short_state_both_lengths(tiny_folder, keep):
    path = tiny_folder / "model.safetensors"
    size = path.stat().st_size
    os.truncate(path, keep if keep > 0 else size + keep)
    with pytest.raises(ModelError, match=f"{keep if keep > 0 else size - 1}") as caught:
        check_folder(tiny_folder)
    if keep == -1:
        assert str(size) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n", "git lfs pull"),
        (b"", "not a safetensors file"),
        (b"\xff" * 64, "not a safetensors file"),
        ((200_000_000).to_bytes(8, "little") + b"{}", "not a safetensors file"),
        ((4).to_bytes(8, "little") + b"null", "damaged safetensors header"),
        ((2).to_bytes(8, "little") + b"{}x", "expected 10 bytes, found 11"),
        ((13).to_bytes(8, "little") + b'{"a":{"x":1}}', "damaged safetensors header"),
    ],
    ids=["lfs", "empty", "noise", "long", "null", "tail", "entry"],
)
def test_what_is_not_weights_is_explained(tmp_path, content, message):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_shapes(path)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/outside.safetensors", "part/x.safetensors", "x.bin"])
def test_an_index_names_only_its_neighbours(tiny_folder, edit_json, name):
    shutil.copy(tiny_folder / "model.safetensors", tiny_folder.parent / "outside.safetensors")
    edit_json(shard(tiny_folder), weight_map={"embeddings.LayerNorm.bias": name})
    with pytest.raises(ModelError, match="expected the name of a safetensors file beside it"):
        check_folder(tiny_folder)


def test_an_absent_part_and_an_absent_tensor_are_named(tiny_folder, edit_json):
    index = shard(tiny_folder)
    edit_json(index, weight_map={"made.up": "model-00001-of-00002.safetensors"})
    with pytest.raises(ModelError, match=r"made\.up"):
        check_folder(tiny_folder)
    (tiny_folder / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match="lacks model-00001-of-00002"):
        check_folder(tiny_folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_link_out_of_the_folder_is_refused(tiny_folder, name):
    outside = tiny_folder.parent / f"outside-{name}"
    (tiny_folder / name).rename(outside)
    (tiny_folder / name).symlink_to(outside)
    with pytest.raises(ModelError, match="outside the model's folder"):
        check_folder(tiny_folder)


def test_the_links_of_the_hubs_cache_are_followed(tiny_folder, tmp_path):
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "abc", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(tiny_folder.iterdir())):
        path.rename(blobs / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    assert check_folder(snapshot).elements > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"auto_map": {"AutoModel": "modeling.Evil"}}, "auto_map"),
        ({"text_config": {"auto_map": {"AutoModel": "modeling.Evil"}}}, "auto_map"),
        ({"_attn_implementation": "org/kernel"}, "org/kernel"),
        ({"attn_implementation": "org/kernel@main:f"}, "org/kernel"),
        ({"_attn_implementation_internal": "org/kernel"}, "org/kernel"),
        ({"_attn_implementation": {"text": "paged|org/kernel"}}, "org/kernel"),
        ({"text_config": {"attn_implementation": "org/kernel"}}, "org/kernel"),
        ({"transformers_weights": "../x.safetensors"}, "transformers_weights"),
        ({"num_hidden_layers": 20_000}, "num_hidden_layers is 20000"),
        ({"num_hidden_groups": 10**9}, "num_hidden_groups"),
        ({"num_labels": 10**9}, "num_labels"),
    ],
    ids=str,
)
def test_a_crafted_config_is_refused(tiny_folder, edit_json, change, message):
    edit_json(tiny_folder / "config.json", **change)
    with pytest.raises(ModelError, match=message):
        check_folder(tiny_folder)


def test_code_is_passed_on_only_when_asked_for(tiny_folder, edit_json):
    edit_json(tiny_folder / "config.json", auto_map={"AutoModel": "modeling.Mine"})
    assert check_folder(tiny_folder, trust_remote_code=True).elements > 0


@pytest.mark.parametrize(
    "change", [{"auto_map": {"AutoTokenizer": ["tok.Evil", None]}}, {"fast_tokenizer_files": ["../tokenizer.json"]}]
)
def test_a_crafted_tokenizer_config_is_refused(tiny_folder, edit_json, change):
    edit_json(tiny_folder / "tokenizer_config.json", **change)
    with pytest.raises(ModelError, match=next(iter(change))):
        check_folder(tiny_folder)


@pytest.mark.parametrize(("name", "message"), [("adapter_config.json", "PEFT adapter"), (".metadata", "pickle")])
def test_folders_of_another_kind_are_refused(tiny_folder, name, message):
    (tiny_folder / name).write_text("{}")
    with pytest.raises(ModelError, match=message):
        check_folder(tiny_folder)


def test_sizes_of_zero_dimensions_are_read(tmp_path):
    save_file({"scalar": torch.tensor(1.0), "row": torch.zeros(3)}, tmp_path / "x.safetensors")
    assert read_shapes(tmp_path / "x.safetensors") == {"scalar": (), "row": (3,)}
