from __future__ import annotations

import pytest

from headway.option_names import ALIASES, names_within, right_name
from headway.recipe import TASKS, Recipe, option_names
from headway.tasks.base import Task
from headway.types import Options


class Inner(Options):
    depth: int = 1


class Outer(Options):
    width: int = 1
    inner: Inner = Inner()
    perhaps: Inner | None = None


def test_names_of_groups_within_groups() -> None:
    assert names_within(Outer, "x.") == ["x.width", "x.inner", "x.inner.depth", "x.perhaps", "x.perhaps.depth"]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("x.inner.dept", " Did you mean 'x.inner.depth'?"),
        ("x.perhaps.dept", " Did you mean 'x.perhaps.depth'?"),
        ("x.dept", " Did you mean 'x.perhaps.depth'?"),
        ("widht", " Did you mean 'x.width'?"),
        ("y", " `headway recipe schema` lists all options."),
        ("lr", " Here it is called optimization.learning_rate."),
    ],
)
def test_the_option_in_that_place_comes_first(place: str, expected: str) -> None:
    assert right_name(place, names_within(Outer, "x.")) == expected


def test_an_alias_is_not_told_in_its_own_place() -> None:
    assert right_name("task.max_target_length", []) == " `headway recipe schema` lists all options."


def test_every_alias_leads_to_an_option_or_a_flag() -> None:
    names = option_names()
    of_tasks = {name for path in TASKS.values() for name in names_within(_task_class(path), "task.")}
    for alias, right in ALIASES.items():
        assert alias not in {name.rpartition(".")[2] for name in names}, alias
        target = right.split(" ")[0]
        assert target in {*names, *of_tasks} or right.startswith(("the flag --", "data.columns.")), alias


def _task_class(path: str) -> type[Task]:
    (name,) = (name for name, known in TASKS.items() if known == path)
    needed = {"labels": ["a"]} if name == "token-classification" else {}
    return type(Recipe.from_dict({"task": {"type": name, **needed}, "data": {"train": "rows.csv"}}).task)
