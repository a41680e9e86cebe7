from __future__ import annotations

import inspect

import pytest

from headway import errors
from headway.errors import HeadwayError, StoppedError, did_you_mean


def test_each_kind_of_failure_has_an_exit_code_of_its_own() -> None:
    kinds = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, HeadwayError) and "exit_code" in vars(kind) and kind is not StoppedError
    ]
    assert sorted((kind.exit_code, kind.__name__) for kind in kinds) == [
        (1, "HeadwayError"),
        (2, "RecipeError"),
        (3, "DataError"),
        (4, "ModelError"),
        (5, "RunError"),
        (6, "NonFiniteError"),
        (7, "MemoryExceededError"),
        (8, "RunBusyError"),
    ]


def test_a_stop_carries_the_exit_code_of_its_signal() -> None:
    stopped = StoppedError("Stopped by SIGTERM.", exit_code=75)
    assert (str(stopped), stopped.exit_code) == ("Stopped by SIGTERM.", 75)
    assert isinstance(stopped, HeadwayError)


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("lable", ["text", "label"], " Did you mean 'label'?"),
        ("LABEL", ["text", "label"], " Did you mean 'label'?"),
        ("Poitive", ["Positive", "Negative"], " Did you mean 'Positive'?"),
        ("xyz", ["text", "label"], ""),
        ("label", [], ""),
    ],
)
def test_the_nearest_name(name: str, known: list[str], expected: str) -> None:
    assert did_you_mean(name, known) == expected
