"""Best, last and early stopping against an oracle, and logs that never stop a training, without a real trainer."""

from __future__ import annotations

import csv
import logging
import math
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from headway.errors import RecipeError, StoppedError
from headway.training.callbacks import Evaluation, History, Saving, load_best
from headway.training.checkpoint import WholeCheckpointIO, best_path, resume_path
from headway.training.optimization import build_schedule
from headway.training.options import OptimizationOptions, TrainingOptions
from headway.training.stopping import StopRequest


@dataclass
class Stream:
    """Stands for the stream of batches: one batch a step, four steps an epoch."""

    total_steps: int
    position: int = 0
    steps_per_epoch: int = 4

    def epoch_at(self, position: int) -> float:
        return position / self.steps_per_epoch


@dataclass
class Module:
    stream: Stream
    shown: dict[str, float] = field(default_factory=dict)

    def log(self, name: str, value: float, **_: Any) -> None:
        self.shown[name] = value

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The weights are the number of the step."""
        return {"step": torch.tensor(self.stream.position)}


class Trainer:
    """Stands for Lightning's trainer."""

    progress_bar_callback = None

    def __init__(self, schedule: Any = None) -> None:
        self.should_stop = False
        self.step = 0
        self.callbacks: list[Any] = []
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        self.optimizers = [optimizer]
        self.lr_scheduler_configs = [] if schedule is None else [Config(schedule(optimizer))]

    def save_checkpoint(self, path: Path) -> None:
        content: dict[str, Any] = {"global_step": self.step, "state_dict": {"step": torch.tensor(self.step)}}
        for callback in self.callbacks:
            callback.on_save_checkpoint(self, None, content)
        WholeCheckpointIO().save_checkpoint(content, path)


@dataclass
class Config:
    scheduler: Any


@dataclass
class Loop:
    """Runs the callbacks over a sequence of validation scores, one evaluation each step."""

    folder: Path
    values: list[float]
    higher_is_better: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    schedule: Any = None
    has_validation: bool = True
    start_step: int = 0
    request: StopRequest = field(default_factory=StopRequest)
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        options = TrainingOptions.model_validate({"eval_steps": 1, "logging_steps": 1, **self.options})
        self.checkpoints = self.folder / "checkpoints"
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self.module: Any = Module(Stream(len(self.values)))
        paths = self.folder / "history.csv", self.folder / "tensorboard"
        self.history = History(*paths, options=options, start_step=self.start_step)
        self.evaluation = Evaluation(
            self.score if self.has_validation else None,
            history=self.history,
            checkpoints=self.checkpoints,
            options=options,
            metric="score",
            higher_is_better=self.higher_is_better,
        )
        self.saving = Saving(
            self.checkpoints, evaluation=self.evaluation, options=options, request=self.request, resume="headway train"
        )
        self.trainer: Any = Trainer(self.schedule)
        self.trainer.callbacks = [self.saving]

    def score(self) -> dict[str, float]:
        self.request.check(saved="What was saved before is whole.")
        number = self.trainer.step - 1
        return {"score": self.values[number]} | ({"loss": self.losses[number]} if self.losses else {})

    def run(self, start: int = 0, stop: int | None = None) -> Loop:
        for step in range(start + 1, (stop or len(self.values)) + 1):
            self.trainer.step = self.module.stream.position = step
            for callback in (self.history, self.evaluation, self.saving):
                callback.after_batch(1.0 / step, 8)
                callback.after_step(self.trainer, self.module, step)
            if self.trainer.should_stop:
                break
        self.history.teardown(self.trainer, self.module, "fit")
        return self


def lines_of(folder: Path) -> list[list[str]]:
    return list(csv.reader((folder / "history.csv").read_text().splitlines()))


def best_of(values: list[float], higher_is_better: bool) -> int:
    """The oracle: the first of the best numbers; the first evaluation where there is no number."""
    numbers = [(value if higher_is_better else -value, -n) for n, value in enumerate(values) if value == value]
    return -max(numbers)[1] + 1 if numbers else 1


def stop_of(values: list[float], higher_is_better: bool, patience: int, threshold: float) -> int:
    """The oracle: the step after which patience evaluations in a row were not better by more than the threshold."""
    best, misses = -math.inf, 0
    for step, value in enumerate(values, start=1):
        signed = value if higher_is_better else -value
        best, misses = (signed, 0) if signed > best + threshold else (best, misses + 1)
        if misses == patience:
            return step
    return len(values)


@pytest.mark.parametrize("number", range(100))
def test_best_and_last_of_random_scores(number: int, tmp_path: Path) -> None:
    chosen = random.Random(number)
    values = [chosen.choice([math.nan, chosen.random(), chosen.randrange(3) / 2]) for _ in range(chosen.randint(1, 9))]
    if number % 5 == 0:
        values[0] = math.nan
    higher = number % 2 == 0
    options: dict[str, Any] = {}
    if number % 3 == 0:
        options = {"early_stopping_patience": chosen.randint(1, 3), "early_stopping_threshold": chosen.choice([0, 0.3])}
    loop = Loop(tmp_path, values, higher, options).run()
    last = stop_of(values, higher, options["early_stopping_patience"], options["early_stopping_threshold"]) if options \
        else len(values)  # fmt: skip
    expected = best_of(values[:last], higher)
    assert loop.evaluation.best_step == expected
    assert loop.trainer.step == last
    saved = WholeCheckpointIO().load_checkpoint(best_path(loop.checkpoints, expected))
    assert saved["state_dict"]["step"] == expected
    assert WholeCheckpointIO().load_checkpoint(resume_path(loop.checkpoints, last))["state_dict"]["step"] == last
    assert len(list(loop.checkpoints.glob("resume-*.ckpt"))) <= 2


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5])
def test_the_search_goes_on_after_an_interruption(cut: int, tmp_path: Path) -> None:
    values, options = [0.5, math.nan, 0.7, 0.7, 0.6, 0.6, 0.9], {"early_stopping_patience": 3}
    whole = Loop(tmp_path / "whole", values, options=options).run()
    first = Loop(tmp_path / "cut", values, options=options).run(stop=cut)
    second = Loop(tmp_path / "cut", values, options=options)
    second.evaluation.load_state_dict(first.evaluation.state_dict())
    second.run(start=cut)
    assert second.evaluation.state_dict() == whole.evaluation.state_dict()
    assert (whole.evaluation.best_step, whole.trainer.step, whole.evaluation.is_stopped_early) == (3, 6, True)


@pytest.mark.parametrize(
    ("values", "losses", "best"),
    [
        ([0.0, 0.0, 0.0], [3.0, 1.0, 2.0], 2),
        ([0.5, 0.5, 0.4], [1.0, 2.0, 0.1], 1),
        ([0.5, 0.6, 0.6], [0.1, 2.0, 2.0], 2),
        ([math.nan, 0.0, 0.0], [0.1, 2.0, 1.0], 3),
    ],
)
def test_of_equal_scores_the_lower_loss_is_better(
    values: list[float], losses: list[float], best: int, tmp_path: Path
) -> None:
    whole = Loop(tmp_path / "whole", values, losses=losses).run()
    assert whole.evaluation.best_step == best
    first = Loop(tmp_path / "cut", values, losses=losses).run(stop=2)
    second = Loop(tmp_path / "cut", values, losses=losses)
    second.evaluation.load_state_dict(first.evaluation.state_dict())
    assert second.run(start=2).evaluation.state_dict() == whole.evaluation.state_dict()


def test_the_best_weights_go_back_into_the_model(tmp_path: Path) -> None:
    loop = Loop(tmp_path, [0.1, 0.9, 0.2]).run()

    class Holder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("step", torch.tensor(0))

    holder: Any = Holder()
    load_best(loop.checkpoints, holder, loop.evaluation.best_step)
    assert holder.step == 2


def test_an_unknown_metric_is_named(tmp_path: Path) -> None:
    loop = Loop(tmp_path, [0.5])
    assert loop.evaluation.value_of({"score": 0.5, "loss": 1.0}) == 0.5
    with pytest.raises(
        RecipeError, match=r"there is no metric 'score'\. Did you mean 'scores'\? This task has loss, scores"
    ):
        loop.evaluation.value_of({"scores": 0.5, "loss": 1.0})


def test_without_validation_rows_the_last_weights_are_the_best(tmp_path: Path) -> None:
    loop = Loop(tmp_path, [0.9, 0.1, 0.1], has_validation=False).run()
    assert loop.evaluation.best_step == 3
    assert best_path(loop.checkpoints, 3).exists()


@pytest.mark.parametrize("higher", [True, False])
def test_a_plateau_lowers_the_learning_rate(higher: bool, tmp_path: Path) -> None:
    def schedule(optimizer: Any) -> Any:
        options = OptimizationOptions(
            lr_scheduler_type="reduce_lr_on_plateau", lr_scheduler_kwargs={"factor": 0.5, "patience": 1}
        )
        return build_schedule(optimizer, options, total_steps=7, steps_per_epoch=1)

    values = [0.5, 0.5, 0.5, 0.4, 0.6, 0.7, math.nan]
    loop = Loop(tmp_path, values if higher else [-value for value in values], higher, schedule=schedule).run()
    assert loop.evaluation.best_step == 6
    rates = [float(line[4]) for line in lines_of(tmp_path) if line[3] == "learning_rate"]
    # Twice no better than 0.5: halved. A number that is none is no better, too.
    assert rates == [0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05]


def test_a_signal_stops_after_the_step_is_saved(tmp_path: Path) -> None:
    loop = Loop(tmp_path, [0.5] * 5, options={"save_steps": 1000, "eval_steps": 4})
    loop.request(15, None)
    with pytest.raises(StoppedError, match=r"saved at step 1\. Go on with: headway train") as stopped:
        loop.run()
    assert stopped.value.exit_code == 75
    assert [path.stem for path in loop.checkpoints.glob("*.ckpt")] == ["resume-00000001"]


def test_a_signal_during_an_evaluation_saves_and_the_evaluation_is_made_up_for(tmp_path: Path) -> None:
    values = [0.5, 0.9, 0.6]
    first = Loop(tmp_path, values).run(stop=1)
    first.request(15, None)
    with pytest.raises(StoppedError, match="saved at step 2"):
        first.run(start=1)
    assert (first.evaluation.best_step, first.evaluation.is_interrupted) == (1, True)
    second = Loop(tmp_path, values)
    second.evaluation.load_state_dict(first.evaluation.state_dict())
    second.trainer.step = second.module.stream.position = 2
    assert second.evaluation.evaluate(second.module, 2) is False
    assert (second.evaluation.best_step, second.evaluation.is_interrupted) == (2, False)


# --- the log ----------------------------------------------------------------------------------------------------------


def test_the_log_is_a_table(tmp_path: Path) -> None:
    Loop(tmp_path, [0.5] * 5, options={"logging_steps": 2, "eval_steps": 4}).run()
    lines = lines_of(tmp_path)
    assert lines[0] == ["step", "epoch", "split", "name", "value"]
    losses = {int(line[0]): float(line[4]) for line in lines if line[3] == "loss"}
    # The mean of the window, not the last batch.
    assert losses == pytest.approx({2: (1 + 1 / 2) / 2, 4: (1 / 3 + 1 / 4) / 2, 5: 1 / 5})
    assert ["4", "1.0000", "validation", "score", "0.5"] in lines
    assert [line[0] for line in lines if line[2] == "validation"] == ["4", "5"]
    assert list((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize("harm", ["none", "cut", "junk"])
def test_a_resumed_log_drops_what_comes_again(harm: str, tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    Loop(tmp_path, [0.5] * 4).run()
    whole = path.read_bytes()
    if harm == "cut":
        path.write_bytes(whole[:-10])
    elif harm == "junk":
        path.write_bytes(whole + b"\xff\xfe,x\n\0\0\0\n")
    history = History(path, tmp_path / "tensorboard", options=TrainingOptions(), start_step=2)
    history.teardown(None, None, "fit")
    assert {line[0] for line in lines_of(tmp_path)[1:]} == {"1", "2"}
    assert path.read_bytes() == b"".join(whole.splitlines(keepends=True)[:7])


def test_an_unfinished_window_is_kept(tmp_path: Path) -> None:
    options = {"logging_steps": 2, "eval_steps": 4}
    first = Loop(tmp_path, [0.5] * 4, options=options).run(stop=3)
    second = Loop(tmp_path, [0.5] * 4, options=options, start_step=3)
    second.history.load_state_dict(first.history.state_dict())
    second.run(start=3)
    losses = [float(line[4]) for line in lines_of(tmp_path) if line[3] == "loss"]
    assert losses == pytest.approx([(1 + 1 / 2) / 2, (1 / 3 + 1 / 4) / 2])


def test_a_log_that_cannot_be_written_warns_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "history.csv").mkdir()
    with caplog.at_level(logging.WARNING):
        loop = Loop(tmp_path, [0.1, 0.9, 0.3]).run()
    assert loop.evaluation.best_step == 2
    assert [record.getMessage() for record in caplog.records if "Cannot write the log" in record.getMessage()] == [
        caplog.records[0].getMessage()
    ]


def test_a_log_folder_that_vanishes_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loop = Loop(tmp_path, [0.1, 0.9, 0.3, 0.2])
    loop.run(stop=1)
    shutil.rmtree(tmp_path / "tensorboard")
    (tmp_path / "tensorboard").write_text("not a folder")
    loop.run(start=1)
    assert loop.evaluation.best_step == 2


def test_a_file_in_the_place_of_the_tensorboard_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "tensorboard").write_text("")
    loop = Loop(tmp_path, [0.1, 0.9, 0.3]).run()
    assert loop.evaluation.best_step == 2
    assert caplog.text.count("Cannot write the log") == 1
    assert len(lines_of(tmp_path)) > 3
