"""Turn a name in a recipe into a class: a short name that headway knows, or the import path of the user's own."""

from __future__ import annotations

import contextlib
import gc
import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, model_serializer, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from headway.errors import HeadwayError, RecipeError, did_you_mean
from headway.types import Options

Made = TypeVar("Made")


@contextlib.contextmanager
def many_imports() -> Iterator[None]:
    """Hold back Python's garbage collector while much is imported, and spare it what was imported for good.

    Imports make a million objects and hardly any garbage, and the collector would look through all of them again and
    again: for `headway train` more than a second. It is for processes of our own: what is alive now is never looked at
    again, so a cycle among it would stay (``gc.freeze``).
    """
    if not gc.isenabled():
        yield
        return
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def find_user_code(*folders: Path) -> None:
    """Let classes of the user's own be imported from ``folders``, after everything that is installed."""
    sys.path.extend(name for name in dict.fromkeys(map(str, folders)) if name not in sys.path)


def load_class(name: str, *, known: Mapping[str, str], option: str, base: type | None = None) -> type[Any]:
    """Return the class that ``name`` stands for.

    Args:
        name: a key of ``known``, or an import path such as ``my_package.my_module.MyHead``.
        known: short name -> import path.
        option: the recipe key that holds the name, for the message (``model.head``).
        base: the class it must be a subclass of, checked before anything is instantiated.

    Raises:
        RecipeError: the name is neither known nor importable, or names something of another kind.
    """
    path = known.get(name, name)
    module_name, _, attribute = path.rpartition(".")
    if not module_name:
        listed = f"one of {', '.join(sorted(known))}, or " if known else ""
        raise RecipeError(
            f"{option}: {name!r} is not known.{did_you_mean(name, known)} Use {listed}the import path of your own "
            "class (my_module.MyClass)."
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise RecipeError(
                f"{option}: importing {module_name!r} failed: it needs the module {error.name!r}, which is not "
                "installed."
            ) from error
        raise RecipeError(
            f"{option}: cannot import {path!r}: there is no module {error.name!r}. The file must lie in the "
            "folder you start headway from, beside the recipe, or in an installed package."
        ) from error
    except Exception as error:
        raise RecipeError(
            f"{option}: importing {module_name!r} failed with {type(error).__name__}: {error}."
        ) from error
    found = vars(module).get(attribute)
    if not isinstance(found, type):
        raise RecipeError(
            f"{option}: module {module_name!r} has no class {attribute!r}.{did_you_mean(attribute, vars(module))}"
        )
    if base is not None and not issubclass(found, base):
        raise RecipeError(f"{option}: {path!r} must be a subclass of {base.__module__}.{base.__qualname__}.")
    return found


class Choice(Options):
    """A class chosen in a recipe, with its options: ``focal``, or ``{name: focal, gamma: 2.0}``."""

    name: str = Field(min_length=1)
    """A short name that headway knows, or the import path of your own class (my_module.MyClass)."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What the class is constructed with; in the recipe these keys stand beside the name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping):
            if "name" not in value:
                raise ValueError("expected a name, or a mapping with the key 'name' and the options of that name")
            given = {key: item for key, item in value.items() if key != "name"}
            # The form in which Python code constructs it: Choice(name="focal", options={"gamma": 2.0}).
            options = given["options"] if set(given) == {"options"} and isinstance(given["options"], Mapping) else given
            return {"name": value["name"], "options": dict(options)}
        return value

    @model_serializer(mode="plain")
    def _write(self) -> str | dict[str, Any]:
        return {"name": self.name, **self.options} if self.options else self.name

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe the two forms that a recipe may hold; the attributes of the class are neither."""
        options = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
        return {"anyOf": [{"type": "string"}, options | {"additionalProperties": True}]}

    def create(self, base: type[Made], *, known: Mapping[str, str], option: str, given: Mapping[str, Any]) -> Made:
        """Construct the chosen class with ``given`` and the recipe's options, all by keyword.

        Args:
            base: the class it must be a subclass of.
            known: short name -> import path.
            option: the recipe key that holds the choice, for the message (``model.head``).
            given: what headway supplies itself; the recipe cannot set these.

        Raises:
            RecipeError: the class is not found, does not take an option, lacks one, or refuses a value.
        """
        chosen = load_class(self.name, known=known, option=option, base=base)
        if both := sorted(given.keys() & self.options.keys()):
            raise RecipeError(f"{option}: {both[0]!r} is set by headway and cannot be an option of {self.name!r}.")
        arguments = {**given, **self.options}
        # A class without a constructor of its own takes nothing, whatever its base's signature seems to allow.
        has_constructor = chosen.__init__ is not vars(base).get("__init__")
        parameters = dict(inspect.signature(chosen).parameters) if has_constructor else {}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            for name in arguments:
                if name not in parameters:
                    own = sorted(parameters.keys() - given.keys())
                    raise RecipeError(
                        f"{option}: {self.name!r} does not take {name!r}.{did_you_mean(name, own)} "
                        f"Its options are: {', '.join(own) or 'none'}."
                    )
        try:
            made: Made = chosen(**arguments)
        except HeadwayError:
            raise
        except (TypeError, ValueError) as error:
            raise RecipeError(f"{option}: {self.name!r} cannot be constructed: {error}.") from error
        return made
