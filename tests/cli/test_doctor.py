"""`headway doctor`: what is well, what is not, and the exit code that scripts read."""

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from headway.cli import doctor
from headway.cli.app import run
from headway.models import location


@pytest.fixture(autouse=True)
def _well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which nothing is wrong, whatever this one is."""
    weights = tmp_path / "model" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    digest = "9f26a1eb3ab1c07c9bb4e0a9d4eb1ee9e2a0d8d8a3bd5ef6cd1b7a1bf8f54d1b"
    monkeypatch.setattr(location, "_embedded_folder", lambda: weights.parent)
    monkeypatch.setattr(location, "EMBEDDED_SHA256", digest)
    monkeypatch.setattr("headway.files.sha256_of", lambda path: digest if path.read_bytes() == b"weights" else "other")
    monkeypatch.setenv("HEADWAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    memory = psutil.virtual_memory()._replace(total=16_000_000_000, available=8_000_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def findings() -> dict[str, doctor.Finding]:
    return {one.name: one for one in doctor.examine()}


def test_every_requirement_has_a_line() -> None:
    found = findings()
    assert {"python", "headway", "torch", "transformers", "lightning", "pydantic", "cyclopts"} <= set(found)
    assert found["torch"].value == importlib.metadata.version("torch")
    assert all(one.mend for one in found.values() if one.state != "ok")


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert {"name", "state", "value", "mend"} == set(content["findings"][0])


def test_the_lines_of_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok ")
    assert any(line.split()[:2] == ["ok", "minilm"] for line in lines)


def version_of(monkeypatch: pytest.MonkeyPatch, package: str, version: str | None) -> None:
    true = importlib.metadata.version

    def told(name: str) -> str:
        if name != package:
            return true(name)
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, "version", told)


def test_a_missing_package_makes_training_impossible(monkeypatch: Any, capsys: Any) -> None:
    version_of(monkeypatch, "torch", None)
    found = findings()
    assert found["torch"].state == "error"
    assert "pip install" in found["torch"].mend
    assert "bfloat16" not in found
    assert run(["doctor"]) == 4
    assert "-> Run: pip install" in capsys.readouterr().out


def test_an_old_package_is_a_warning(monkeypatch: Any) -> None:
    version_of(monkeypatch, "transformers", "4.40.0")
    assert findings()["transformers"].state == "warning"
    assert "4.40.0, but >=" in findings()["transformers"].value
    assert run(["doctor"]) == 0


def test_a_compromised_release_is_an_error(monkeypatch: Any) -> None:
    version_of(monkeypatch, "lightning", "2.6.3")
    assert findings()["lightning"].state == "error"
    assert run(["doctor"]) == 4


def test_more_threads_than_processors(monkeypatch: Any) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    assert findings()["threads"].state == "warning"
    assert findings()["threads"].mend.endswith("export OMP_NUM_THREADS=2")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert findings()["threads"].mend.endswith("export OMP_NUM_THREADS=32")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 32)
    assert findings()["threads"].state == "ok"


@pytest.mark.parametrize(("amx", "avx512", "words"), [(True, True, "AMX, AVX512"), (False, False, "float32")])
def test_bfloat16(amx: bool, avx512: bool, words: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    assert findings()["bfloat16"].state == "ok"
    assert words in findings()["bfloat16"].value


def test_little_memory_and_little_disk(monkeypatch: Any) -> None:
    memory = psutil.virtual_memory()._replace(available=500_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    usage = type("Usage", (), {"free": 1_000_000})()
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    found = findings()
    assert found["memory"].state == found["this folder"].state == found["cache folder"].state == "warning"
    assert run(["doctor"]) == 0


def test_a_cache_that_cannot_be_written_is_an_error(monkeypatch: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HEADWAY_CACHE", str(tmp_path / "file" / "cache"))
    assert findings()["cache folder"].state == "error"
    assert run(["doctor"]) == 4


def test_the_embedded_model(monkeypatch: Any, tmp_path: Path) -> None:
    assert findings()["minilm"].state == "ok"
    (tmp_path / "model" / "model.safetensors").write_bytes(b"others")
    assert findings()["minilm"].state == "error"
    assert "--force-reinstall" in findings()["minilm"].mend
    (tmp_path / "model" / "model.safetensors").unlink()
    assert findings()["minilm"].state == "error"
    monkeypatch.undo()
    monkeypatch.setattr(location, "_EMBEDDED_PACKAGE", "no_such_package_at_all")
    # Another model serves as well.
    assert findings()["minilm"].state == "warning"
    assert "headway[offline]" in findings()["minilm"].mend


def test_the_hub_is_never_asked(monkeypatch: Any) -> None:
    import socket

    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert "not tried" in findings()["HF_HUB_OFFLINE"].value
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "cache only" in findings()["HF_HUB_OFFLINE"].value
