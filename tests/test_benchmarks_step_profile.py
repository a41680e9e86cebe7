from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
step_profile = importlib.import_module("step_profile")


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("aten::addmm", "linear layers"),
        ("aten::_softmax", "attention"),
        ("aten::native_layer_norm_backward", "layer norm"),
        ("aten::linalg_vector_norm", "optimizer, clipping"),
        ("aten::_fused_adamw_", "optimizer, clipping"),
        ("Optimizer.step#AdamW.step", step_profile.PYTHON),
        ("aten::add", step_profile.REST),
    ],
)
def test_operations_have_a_kind(operation: str, kind: str) -> None:
    assert step_profile.kind_of(operation) == kind


@pytest.mark.parametrize(("wall", "python"), [(160.0, 5.0), (64.0, 0.0)])
def test_what_no_operation_took_is_pythons(wall: float, python: float) -> None:
    """Both operations together take 5 milliseconds of each of the 16 steps."""
    events = [
        SimpleNamespace(key=key, self_cpu_time_total=milliseconds * 1e3)
        for key, milliseconds in (("aten::mm", 48.0), ("aten::mm", 16.0), ("aten::add", 16.0))
    ]
    found = step_profile.by_kind(events, wall)
    assert found == pytest.approx({"linear layers": 4.0, step_profile.REST: 1.0, step_profile.PYTHON: python})


def test_every_variant_has_a_column(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_process(job: dict[str, Any], folder: Path, script: Path) -> dict[str, Any] | None:
        if job["kind"] == "trainer":
            return None
        if job["kind"] == "prepare":
            return {}
        json.dumps(job)  # it goes to another process
        assert (script.stem, job["max_steps"]) == ("step_profile", step_profile.WARM_UP + step_profile.STEPS)
        return {"profile": {"linear layers": 4.0, step_profile.REST: 1.25}}

    monkeypatch.setattr(step_profile, "run_process", run_process)
    command = ["--data", str(tmp_path), "--sets", "sst2,imdb", "--variants", "trainer,trainer-tuned,headway"]
    assert step_profile.main(command) == 1
    said = capsys.readouterr()
    assert said.err.splitlines() == ["FAILED: sst2, trainer", "FAILED: imdb, trainer"]
    lines = said.out.splitlines()
    assert sum(line.startswith("## ") for line in lines) == 2
    assert [one.strip() for one in lines[3].split("|")[1:-1]] == ["", "trainer-tuned", "headway"]
    assert [one.strip() for one in lines[-1].split("|")[1:-1]] == ["a step", "5.2", "5.2"]


def test_a_folder_that_is_missing_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        step_profile.main(["--data", str(tmp_path / "none")])
    assert ended.value.code == 2
    assert "name the folder" in capsys.readouterr().err
