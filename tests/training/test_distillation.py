from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tasks.test_contract import CASES, build
from tests.test_train import recipe_for

from headway.errors import RecipeError
from headway.models.backbone import load_backbone
from headway.models.losses import IGNORED
from headway.models.options import ModelOptions
from headway.recipe import Recipe
from headway.run_dir import RunDir
from headway.train import train
from headway.training.distillation import Teacher, distance_to
from headway.training.options import Distillation

KINDS = [pytest.param((name, kind), id=f"{name}: {kind}") for name, kinds in CASES.items() for kind in kinds]


@pytest.mark.parametrize("case", KINDS)
def test_every_task_comes_nearer_to_its_teacher(case: tuple[str, str], tiny_bert: Path) -> None:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert), dropout=0.0))
    teacher, student = build(*case, backbone), build(*case, backbone)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in teacher.model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    guide = Teacher(teacher.task, teacher.model, Distillation(teacher="t", alpha=1.0))
    batch = student.batch
    optimizer = torch.optim.Adam(student.model.parameters(), lr=1e-3)
    student.model.eval()
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        criterion = guide.beside(student.criterion, batch)
        loss = student.task.loss(student.task.forward(student.model, batch), batch, criterion)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0
    assert losses[-1] < losses[0] * 0.5
    assert all(parameter.grad is None for parameter in teacher.model.parameters())


def test_its_own_teacher_is_at_no_distance(tiny_bert: Path) -> None:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert), dropout=0.0))
    case = build("text-classification", next(iter(CASES["text-classification"])), backbone)
    case.model.eval()
    plain = case.task.loss(case.task.forward(case.model, case.batch), case.batch, case.criterion)
    guide = Teacher(case.task, case.model, Distillation(teacher="t", alpha=0.25))
    criterion = guide.beside(case.criterion, case.batch)
    both = case.task.loss(case.task.forward(case.model, case.batch), case.batch, criterion)
    torch.testing.assert_close(both, plain * 0.75)


def test_the_three_distances() -> None:
    teacher, student = torch.tensor([[2.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 2.0], [5.0, 5.0]])
    soft = torch.nn.functional.kl_div(
        (student[:1] / 2).log_softmax(-1), (teacher[:1] / 2).softmax(-1), reduction="batchmean"
    )
    first = distance_to(teacher, student, torch.tensor([0, IGNORED]), temperature=2.0)
    torch.testing.assert_close(first, soft * 4)
    assert distance_to(teacher, student, torch.tensor([IGNORED, IGNORED]), temperature=2.0) == 0
    labels = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert distance_to(teacher, teacher, labels, temperature=3.0).abs() < 1e-6
    assert distance_to(teacher, student, labels, temperature=3.0) > 0.1
    numbers = distance_to(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [2.0]]), torch.zeros(2), temperature=9.0)
    assert numbers == 2.0


@pytest.fixture(scope="module")
def teacher_run(reviews_csv: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("teacher") / "run"
    recipe = recipe_for(reviews_csv, tiny_bert, training={"max_steps": 40, "baselines": False})
    train(Recipe.from_dict(recipe), output_dir=run)
    return run


def student_of(teacher: Path, reviews_csv: Path, tiny_bert: Path, **task: Any) -> Recipe:
    content = recipe_for(reviews_csv, tiny_bert, training={"max_steps": 100, "baselines": False})
    content["task"] = {"type": "text-classification", **task}
    content["model"] |= {"num_hidden_layers": 1}
    content["optimization"] |= {"learning_rate": 2e-3, "distillation": {"teacher": str(teacher), "alpha": 0.9}}
    return Recipe.from_dict(content)


def test_a_smaller_student_learns_from_a_run(
    teacher_run: Path, reviews_csv: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    metrics = train(student_of(teacher_run, reviews_csv, tiny_bert), output_dir=tmp_path / "run")
    assert metrics["metrics"]["validation"]["accuracy"]["value"] > 0.8
    sizes = [RunDir.open(run).read_manifest()["model"]["parameters"] for run in (tmp_path / "run", teacher_run)]
    assert sizes[0] < sizes[1]


def test_a_teacher_that_does_not_fit_is_refused(
    teacher_run: Path, reviews_csv: Path, tiny_bert: Path, tiny_roberta: Path, tmp_path: Path
) -> None:
    other = student_of(teacher_run, reviews_csv, tiny_bert, labels=["good", "bad"])
    with pytest.raises(RecipeError, match="has learnt other labels, or in another order"):
        train(other, output_dir=tmp_path / "run")
    with pytest.raises(RecipeError, match="reads other tokens than"):
        train(student_of(teacher_run, reviews_csv, tiny_roberta), output_dir=tmp_path / "run")
    assert not (tmp_path / "run" / "fingerprint.json").exists()


def test_a_run_is_not_resumed_under_another_teacher(
    teacher_run: Path, reviews_csv: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    teacher = Path(shutil.copytree(teacher_run / "model", tmp_path / "teacher"))
    recipe = student_of(teacher, reviews_csv, tiny_bert).changed({"training.max_steps": 1})
    train(recipe, output_dir=tmp_path / "run")
    train(recipe, output_dir=tmp_path / "run", resume=True)
    about = json.loads((teacher / "headway.json").read_text())
    (teacher / "headway.json").write_text(json.dumps({**about, "files": {}}))
    with pytest.raises(RecipeError, match=r"cannot be resumed.*\n  teacher: "):
        train(recipe, output_dir=tmp_path / "run", resume=True)
