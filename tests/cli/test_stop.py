"""The command itself: a signal saves, says how to go on, and leaves with the promised exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HEADWAY = [sys.executable, "-c", "from headway.cli.app import main; main()"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_to_the_command_saves_and_resumes(
    number: signal.Signals, code: int, tiny_bert: Path, tmp_path: Path
) -> None:
    rows = [f"the {noun} was {word},{label}" for noun in ("book", "film", "song", "room", "soup", "meal", "plot")
            for word, label in (("good", "yes"), ("bad", "no"), ("fine", "yes"), ("sad", "no"))]  # fmt: skip
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows]))
    (tmp_path / "recipe.yaml").write_text(
        "task: text-classification\n"
        "data: {train: rows.csv, validation: 0.25}\n"
        f"model: {{model_name_or_path: {tiny_bert}}}\n"
        "training: {num_train_epochs: 3000, per_device_train_batch_size: 4, logging_steps: 1, eval_steps: 1000}\n"
    )
    command = [*HEADWAY, "train", "recipe.yaml", "--output_dir", "run"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step "):
            break
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code
    assert "The run is saved at step" in said
    assert "headway train recipe.yaml --output_dir run --resume" in said
    assert "Traceback" not in said
    again = subprocess.run(
        [*command, "--resume", "--training.num_train_epochs", "3001"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert again.returncode == 2
    assert "training.num_train_epochs: 3000.0 -> 3001" in again.stderr
