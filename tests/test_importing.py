from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from headway.errors import ModelError, RecipeError
from headway.importing import Choice, find_user_code, load_class, many_imports

KNOWN = {"counter": "collections.Counter", "ordered": "collections.OrderedDict"}

OWN = """
class Base: ...

class Plain(Base): ...

class Sized(Base):
    def __init__(self, *, width, depth=2):
        self.width, self.depth = width, depth
        if width < 0:
            raise ValueError("width is negative")

class Any(Base):
    def __init__(self, **options):
        self.options = options

class Refusing(Base):
    def __init__(self):
        from headway.errors import ModelError
        raise ModelError("no")

number = 5
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A user's module `own_things` beside the recipe."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_things.py").write_text(OWN)
    find_user_code(tmp_path)
    yield load_class("own_things.Base", known={}, option="model.head")
    for name in [name for name in sys.modules if name.startswith(("own_", "broken_"))]:
        del sys.modules[name]


def test_a_short_name_and_an_import_path() -> None:
    from collections import Counter, OrderedDict

    assert load_class("counter", known=KNOWN, option="x") is Counter
    assert load_class("collections.OrderedDict", known=KNOWN, option="x", base=dict) is OrderedDict


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("countr", "model.head: 'countr' is not known. Did you mean 'counter'? Use one of counter, ordered, or"),
        (
            "own_missing.Head",
            "cannot import 'own_missing.Head': there is no module 'own_missing'. The file must lie in",
        ),
        ("own_things.missing.Head", "cannot import 'own_things.missing.Head': there is no module 'own_things.missing'"),
        ("own_things.Sizd", "module 'own_things' has no class 'Sizd'. Did you mean 'Sized'?"),
        ("own_things.number", "module 'own_things' has no class 'number'"),
        ("collections.Counter", "'collections.Counter' must be a subclass of own_things.Base"),
        ("..own_things.Sized", "model.head: "),
    ],
)
def test_a_name_that_cannot_be_used(own: type, name: str, message: str) -> None:
    with pytest.raises(RecipeError) as refused:
        load_class(name, known=KNOWN, option="model.head", base=own)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "import a_package_that_is_not_here",
            "it needs the module 'a_package_that_is_not_here', which is not installed",
        ),
        ("class", "importing 'broken_own' failed with SyntaxError"),
        ("1 / 0", "importing 'broken_own' failed with ZeroDivisionError: division by zero"),
    ],
)
def test_a_module_that_cannot_be_imported(own: type, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "broken_own.py").write_text(content)
    with pytest.raises(RecipeError) as refused:
        load_class("broken_own.Head", known={}, option="model.head")
    assert message in str(refused.value)


def test_folders_of_user_code_come_last_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/installed"])
    find_user_code(Path("/a"), Path("/b"), Path("/a"))
    find_user_code(Path("/b"))
    assert sys.path == ["/installed", "/a", "/b"]


@pytest.mark.parametrize(
    ("given", "name", "options", "written"),
    [
        ("focal", "focal", {}, "focal"),
        ({"name": "focal"}, "focal", {}, "focal"),
        ({"name": "focal", "gamma": 1.0}, "focal", {"gamma": 1.0}, {"name": "focal", "gamma": 1.0}),
        ({"name": "focal", "options": {"gamma": 1.0}}, "focal", {"gamma": 1.0}, {"name": "focal", "gamma": 1.0}),
    ],
)
def test_the_forms_of_a_choice(given: Any, name: str, options: dict[str, Any], written: Any) -> None:
    choice = Choice.model_validate(given)
    assert (choice.name, choice.options) == (name, options)
    assert choice.model_dump() == written
    assert Choice.model_validate(choice.model_dump()) == choice


@pytest.mark.parametrize("given", [{"gamma": 1.0}, "", {"name": ""}, {"name": 5}, ["focal"], 5, None])
def test_what_is_no_choice(given: Any) -> None:
    with pytest.raises(ValidationError):
        Choice.model_validate(given)


def test_the_schema_shows_both_forms() -> None:
    forms = TypeAdapter(Choice).json_schema()["anyOf"]
    assert [form["type"] for form in forms] == ["string", "object"]


def test_a_chosen_class_gets_what_is_given_and_the_options(own: type) -> None:
    made: Any = Choice(name="own_things.Sized", options={"depth": 5}).create(
        own, known={}, option="model.head", given={"width": 3}
    )
    assert (made.width, made.depth) == (3, 5)
    made = Choice(name="own_things.Any", options={"depth": 5}).create(own, known={}, option="o", given={"width": 3})
    assert made.options == {"width": 3, "depth": 5}
    assert isinstance(Choice(name="own_things.Plain").create(own, known={}, option="o", given={}), own)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "Sized",
            {"dept": 5},
            "'own_things.Sized' does not take 'dept'. Did you mean 'depth'? Its options are: depth.",
        ),
        ("Sized", {"width": 5}, "'width' is set by headway and cannot be an option of 'own_things.Sized'"),
        ("Plain", {"depth": 5}, "'own_things.Plain' does not take"),
    ],
)
def test_options_that_do_not_fit(own: type, name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as refused:
        Choice(name=f"own_things.{name}", options=options).create(
            own, known={}, option="model.head", given={"width": 3}
        )
    assert str(refused.value).startswith("model.head: ")
    assert message in str(refused.value)


def test_a_class_that_refuses_its_values(own: type) -> None:
    with pytest.raises(RecipeError, match=r"cannot be constructed: width is negative\."):
        Choice(name="own_things.Sized").create(own, known={}, option="o", given={"width": -1})
    with pytest.raises(RecipeError, match=r"cannot be constructed: .*width"):
        Choice(name="own_things.Sized").create(own, known={}, option="o", given={})
    with pytest.raises(ModelError, match=r"^no$"):
        Choice(name="own_things.Refusing").create(own, known={}, option="o", given={})


def test_many_imports_hold_the_collector_back_and_let_it_go() -> None:
    frozen = gc.get_freeze_count()
    try:
        with many_imports():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    try:
        with many_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
