"""A run that was killed and resumed ends with the same weights, bit for bit, as one that was never interrupted."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.rewinding import rewound, saved_steps

from headway.errors import ModelError, NonFiniteError, RecipeError, RunBusyError, StoppedError
from headway.recipe import Recipe
from headway.train import train
from headway.training import checkpoint as checkpoints

ADJECTIVES = {"good": ["great", "lovely", "bright", "happy", "fine"], "bad": ["awful", "poor", "dull", "slow", "sad"]}
NOUNS = ["book", "film", "food", "room", "train", "garden", "song", "story"]


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "reviews.csv"
    chosen = random.Random(0)
    lines = ["text,label"]
    for number in range(44):
        label = "good" if number % 2 else "bad"
        text = (
            f"the {chosen.choice(NOUNS)} was {chosen.choice(ADJECTIVES[label])} "
            + "and very " * (number % 5)
            + str(number)
        )
        lines.append(f"{text},{label}")
    path.write_text("\n".join(lines))
    return path


def recipe_for(reviews: Path, backbone: Path, **training: Any) -> dict[str, Any]:
    return {
        "task": "text-classification",
        "data": {"train": str(reviews), "validation": 0.2},
        "model": {"model_name_or_path": str(backbone)},
        "optimization": {"learning_rate": 1e-3, "warmup_ratio": 0.1},
        "training": {
            "num_train_epochs": 2.5,
            "per_device_train_batch_size": 8,
            "save_steps": 1,
            "logging_steps": 2,
            "baselines": False,
            **training,
        },
    }


def run(recipe: dict[str, Any], folder: Path, **arguments: Any) -> str:
    """Train and return the digest of the final weights."""
    train(Recipe.from_dict(recipe), output_dir=folder, **arguments)
    return digest(folder)


def digest(folder: Path) -> str:
    weights = sorted(folder.rglob("model/model.safetensors"))
    assert weights
    return hashlib.sha256(b"".join(path.read_bytes() for path in weights)).hexdigest()


def history(folder: Path) -> str:
    return (folder / "history.csv").read_text()


SETUPS: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {},
    "accumulation": {"optimization": {"gradient_accumulation_steps": 3}},
    "mid-epoch-evaluation": {
        "training": {"eval_steps": 3},
        "optimization": {"lr_scheduler_type": "reduce_lr_on_plateau", "warmup_ratio": 0},
    },
    "float32-random-order": {
        "training": {"bf16": False, "group_by_length": False},
        "optimization": {"lr_scheduler_type": "one_cycle"},
    },
    "step-schedule": {"optimization": {"lr_scheduler_type": "step", "lr_scheduler_kwargs": {"gamma": 0.5}}},
    "early-stopping": {
        "training": {"eval_steps": 2, "early_stopping_patience": 2, "num_train_epochs": 6},
        "optimization": {"learning_rate": 1e-5},
    },
    "frozen-layers": {"model": {"freeze": 1}},
}


@pytest.mark.parametrize("setup", SETUPS)
def test_resume_from_every_step_is_bit_identical(
    setup: str, reviews: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(reviews, tiny_bert)
    for group, options in SETUPS[setup].items():
        recipe[group] |= options
    monkeypatch.setattr(checkpoints, "KEPT_RESUME_CHECKPOINTS", 1000)
    whole = tmp_path / "whole"
    expected = run(recipe, whole)
    steps = saved_steps(whole)
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= 4
    for step in steps:
        resumed = rewound(whole, tmp_path / f"from-{step}", step=step)
        torch.manual_seed(step)  # the state of the process must not matter
        random.seed(step)
        assert run(recipe, resumed, resume=True) == expected, f"resumed from step {step}"
        assert history(resumed) == history(whole)
        shutil.rmtree(resumed)


def test_dropout_is_on_in_training(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    recipe = recipe_for(reviews, tiny_bert, num_train_epochs=1)
    digests = {
        run({**recipe, "model": {**recipe["model"], "dropout": rate}}, tmp_path / str(rate)) for rate in (0, 0.5)
    }
    assert len(digests) == 2


def victim(recipe: dict[str, Any], folder: str) -> None:
    torch.set_num_threads(1)
    train(Recipe.from_dict(recipe), output_dir=folder, resume=True)


@pytest.fixture(scope="module")
def server() -> Any:
    """A process that has imported everything (see conftest), so that a victim starts in a moment."""
    return multiprocessing.get_context("forkserver")


def kill_until_done(server: Any, recipe: dict[str, Any], folder: Path, chosen: random.Random, longest: float) -> int:
    """Start, kill -9 after a random time, start again ...; return how often it was killed."""
    kills = 0
    while True:
        process = server.Process(target=victim, args=(recipe, str(folder)))
        process.start()
        # After some kills it may finish, or a slow machine would never get there.
        process.join(timeout=chosen.uniform(0.2, longest) if kills < 4 else None)
        if process.exitcode is not None:
            assert process.exitcode == 0
            return kills
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        kills += 1


@pytest.mark.parametrize("number", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 20))])
def test_killed_at_random_and_resumed_is_bit_identical(
    number: int, server: Any, reviews: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    seeds = [0, 1] if number % 2 else [0]
    recipe = recipe_for(reviews, tiny_bert, seeds=seeds, num_train_epochs=6)
    whole = server.Process(target=victim, args=(recipe, str(tmp_path / "whole")))
    started = time.monotonic()
    whole.start()
    whole.join()
    assert whole.exitcode == 0
    kills = kill_until_done(server, recipe, tmp_path / "killed", random.Random(number), time.monotonic() - started)
    assert digest(tmp_path / "killed") == digest(tmp_path / "whole"), f"after {kills} kills"
    assert not list((tmp_path / "killed").rglob("*.part"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_saves_and_exits(
    number: signal.Signals, code: int, reviews: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headway.training.callbacks import History

    recipe = recipe_for(reviews, tiny_bert, save_steps=1000)
    expected = run(recipe, tmp_path / "whole")
    log = History.after_step

    def signalled(self: History, trainer: Any, module: Any, step: int) -> None:
        log(self, trainer, module, step)
        if step == 3:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(History, "after_step", signalled)
    with pytest.raises(StoppedError, match="saved at step 3") as stopped:
        run(recipe, tmp_path / "stopped")
    assert stopped.value.exit_code == code
    monkeypatch.undo()
    assert run(recipe, tmp_path / "stopped", resume=True) == expected


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_stop_during_validation_loses_no_step(
    number: int, reviews: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headway.tasks.text_classification import TextClassification

    recipe = recipe_for(reviews, tiny_bert, save_steps=1000, num_train_epochs=3)
    expected = run(recipe, tmp_path / "whole")
    evaluate, calls = TextClassification.evaluate, []

    def signalled(self: Any, predictions: Any, rows: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGTERM)
            raise StoppedError("as the inference loop does", exit_code=75)
        return evaluate(self, predictions, rows)

    monkeypatch.setattr(TextClassification, "evaluate", signalled)
    with pytest.raises(StoppedError, match=f"saved at step {5 * number}") as stopped:
        run(recipe, tmp_path / "stopped")
    assert stopped.value.exit_code == 75
    monkeypatch.undo()
    assert run(recipe, tmp_path / "stopped", resume=True) == expected
    assert history(tmp_path / "stopped") == history(tmp_path / "whole")


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(
    reviews: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headway.tasks.text_classification import TextClassification

    loss = TextClassification.loss
    calls = []

    def spoiled(self: Any, outputs: Any, batch: Any, criterion: Any) -> Any:
        value = loss(self, outputs, batch, criterion)
        if torch.is_grad_enabled():
            calls.append(1)
        return value * float("nan") if len(calls) == 5 and torch.is_grad_enabled() else value

    monkeypatch.setattr(TextClassification, "loss", spoiled)
    with pytest.raises(NonFiniteError, match="optimizer step 4"):
        run(recipe_for(reviews, tiny_bert), tmp_path)
    newest = checkpoints.newest_whole(tmp_path / "checkpoints")
    assert newest is not None
    assert newest.name == "resume-00000004.ckpt"
    tensors = torch.load(newest, weights_only=True)["state_dict"]
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


@pytest.fixture
def interrupted(
    reviews: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, dict[str, Any]]:
    """A run that was stopped after six steps, and its recipe."""
    from headway.training.callbacks import History

    log = History.after_step

    def signalled(self: History, trainer: Any, module: Any, step: int) -> None:
        log(self, trainer, module, step)
        if step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    recipe = recipe_for(reviews, tiny_bert)
    with monkeypatch.context() as patched:
        patched.setattr(History, "after_step", signalled)
        with pytest.raises(StoppedError):
            run(recipe, tmp_path / "run")
    return tmp_path / "run", recipe


@pytest.mark.parametrize("harm", ["cut", "zeroed", "flipped", "no-seal"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    harm: str,
    interrupted: tuple[Path, dict[str, Any]],
    reviews: Path,
    tiny_bert: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder, recipe = interrupted
    newest = folder / "checkpoints" / "resume-00000006.ckpt"
    content = bytearray(newest.read_bytes())
    if harm == "cut":
        newest.write_bytes(content[: len(content) // 2])
    elif harm == "zeroed":
        newest.write_bytes(bytes(len(content)))
    elif harm == "flipped":
        content[len(content) // 3] ^= 1
        newest.write_bytes(content)
    else:
        newest.with_suffix(".json").unlink()
    resumed = run(recipe, folder, resume=True)
    assert resumed == run(recipe, tmp_path / "whole")
    assert "resume-00000006.ckpt is" in caplog.text


def test_no_whole_checkpoint_never_means_from_scratch(interrupted: tuple[Path, dict[str, Any]]) -> None:
    folder, recipe = interrupted
    for path in (folder / "checkpoints").glob("resume-*.ckpt"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="None of the 2 checkpoints"):
        run(recipe, folder, resume=True)


def test_another_recipe_or_other_data_are_refused(
    interrupted: tuple[Path, dict[str, Any]], tmp_path: Path, reviews: Path
) -> None:
    folder, recipe = interrupted
    recipe["optimization"] = {"learning_rate": 1e-4}
    recipe["training"] = {**recipe["training"], "per_device_train_batch_size": 4}
    other = tmp_path / "other.csv"
    other.write_text(reviews.read_text().replace("book", "film"))
    recipe["data"] = {**recipe["data"], "train": str(other)}
    with pytest.raises(RecipeError) as refused:
        run(recipe, folder, resume=True)
    message = str(refused.value)
    for name in ("learning_rate: 0.001 -> 0.0001", "per_device_train_batch_size: 8 -> 4", "data.train: "):
        assert name in message


def test_a_second_run_and_a_second_writer_are_refused(interrupted: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    from headway.run_dir import RunDir

    folder, recipe = interrupted
    with pytest.raises(RunBusyError, match="holds an unfinished run"):
        run(recipe, folder)
    with RunDir(folder).writer(), pytest.raises(RunBusyError, match=f"process {os.getpid()} on "):
        run(recipe, folder, resume=True)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("x")
    with pytest.raises(RunBusyError, match="holds no run"):
        run(recipe, tmp_path / "photos", overwrite=True)
    assert (tmp_path / "photos" / "a.jpg").exists()


def test_a_finished_run_is_not_repeated(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    recipe = recipe_for(reviews, tiny_bert, num_train_epochs=1)
    run(recipe, tmp_path / "run")
    before = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert train(Recipe.from_dict(recipe), output_dir=tmp_path / "run", resume=True) == before
