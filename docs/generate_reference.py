"""Write what the documentation takes from the code: docs/reference/recipe.md, and the examples that pages show.

Run it after a change of an option, a verb or an example: python docs/generate_reference.py. A test compares.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from headway.cli.app import EXIT_CODES, VERBS, app
from headway.cli.recipe import recipe_schema
from headway.importing import load_class
from headway.models import heads, losses

DOCS = Path(__file__).parent
TITLED = re.compile(r'(?P<fence>```\w+ title="docs/(?P<path>[^"]+)"\n).*?(?=```)', re.DOTALL)
"""A block of code that stands in the file of its title."""

INTRODUCTION = """\
# Recipe and commands

Made from the code by `docs/generate_reference.py`. Do not edit.

A recipe is a YAML file with the sections below; `task` and `data.train` must be there, all else has a default. On the
command line each option is `--section.option VALUE`. `headway recipe print RECIPE` shows a recipe with all its
defaults, `headway recipe schema` prints the JSON schema for editors.
"""


def generate() -> dict[Path, str]:
    """Return the text of every page that takes something from the code."""
    parts = [INTRODUCTION, *_sections(), *_choices(), *_verbs()]
    pages = {DOCS / "reference" / "recipe.md": "\n".join(part.rstrip("\n") + "\n" for part in parts)}
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        if TITLED.search(text):
            pages[page] = TITLED.sub(lambda found: found["fence"] + (DOCS / found["path"]).read_text("utf-8"), text)
    return pages


def _sections() -> Iterator[str]:
    schema = recipe_schema()
    definitions = schema["$defs"]
    single = []
    for name, field in schema["properties"].items():
        if name == "task":
            yield f"## task\n\n{_text(field)} The options beside `type` are those of the task."
            for form in field["anyOf"]:
                if "$ref" in form:
                    yield _section("###", definitions[_referred(form)], definitions)
        elif "$ref" in field:
            yield f"## {name}\n\n{_text(field)}\n\n{_table(definitions[_referred(field)], definitions)}"
        else:
            single.append((name, field))
    rows = [_row(name, field, definitions) for name, field in single]
    yield "## Options outside a section\n\n" + _markdown(["option", "type", "default", "meaning"], rows)


def _section(mark: str, definition: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    name = definition["properties"]["type"]["const"]
    return f"{mark} {name}\n\n{_text(definition)}\n\n{_table(definition, definitions)}"


def _table(definition: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    required = definition.get("required", [])
    rows = [
        _row(name, {**field, "is_required": name in required}, definitions)
        for name, field in definition["properties"].items()
    ]
    return _markdown(["option", "type", "default", "meaning"], rows)


def _row(name: str, field: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[str]:
    default = "required" if field.get("is_required") else _value(field.get("default"))
    return [f"`{name}`", _type(field, definitions), default, _text(field)]


def _type(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Return the JSON schema of a field in words."""
    if "$ref" in field:
        return _type(definitions[_referred(field)], definitions)
    for several in ("anyOf", "oneOf", "allOf"):
        if several in field:
            return " or ".join(dict.fromkeys(_type(one, definitions) for one in field[several]))
    if "const" in field:
        return _value(field["const"])
    if "enum" in field:
        return ", ".join(_value(one) for one in field["enum"])
    match field.get("type"):
        case "array":
            return f"list of {_type(field.get('items', {}), definitions)}"
        case "object" if field.get("required"):
            required = ", ".join(f"`{name}`" for name in field["required"])
            return f"mapping with {required}"
        case "object":
            return "mapping"
        case "null":
            return "empty"
        case "integer" | "number" as kind:
            return {"integer": "whole number", "number": "number"}[kind] + _bounds(field)
        case "string":
            return "text"
        case "boolean":
            return "true or false"
        case _:
            return "any value"


def _bounds(field: Mapping[str, Any]) -> str:
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    found = [f"{word} {field[key]:g}" for key, word in words.items() if key in field]
    return f" {', '.join(found)}" if found else ""


def _choices() -> Iterator[str]:
    for option, known in (("optimization.loss", losses.KNOWN), ("model.head", heads.KNOWN)):
        rows = []
        for name in known:
            chosen = load_class(name, known=known, option=option, base=nn.Module)
            given = ("class_weights", "label_smoothing_factor", "hidden_size", "num_labels")
            own = [
                f"`{parameter.name}` ({_value(parameter.default)})"
                for parameter in inspect.signature(chosen).parameters.values()
                if parameter.name not in given
            ]
            summary = inspect.cleandoc(chosen.__doc__ or "").split("\n\n")[0].replace("\n", " ").replace("``", "`")
            rows.append([f"`{name}`", ", ".join(own) or "none", summary])
        yield f"## Names for {option}\n\n" + _markdown(["name", "its options (default)", "what it is"], rows)


def _verbs() -> Iterator[str]:
    yield "## Commands\n\n" + EXIT_CODES
    for verb in VERBS:
        command = app[verb]
        inner = [name for name in command if not name.startswith("-")]
        if not inner:
            yield _verb(f"headway {verb}", command)
        for name in inner:
            yield _verb(f"headway {verb} {name}", command[name])


def _verb(words: str, command: Any) -> str:
    lines, takes_options = [], False
    for argument in command.assemble_argument_collection(default_parameter=app.default_parameter, parse_docstring=True):
        if not argument.show:
            takes_options = True
            continue
        name = argument.names[0]
        if argument.required:
            words += f" {name} VALUE" if name.startswith("--") else f" {name}"
        elif not name.startswith("--"):
            words += f" [{name}]"
        lines.append([f"`{name}`", argument.parameter.help or ""])
    if takes_options:
        words += " [--section.option VALUE ...]"
    text = inspect.cleandoc(inspect.getdoc(command.default_command) or "").partition("Args:")[0].strip()
    return f"### {words}\n\n{text}\n" + ("\n" + _markdown(["argument", "meaning"], lines) if lines else "")


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _text(field: Mapping[str, Any]) -> str:
    return " ".join(field.get("description", "").split())


def _value(value: Any) -> str:
    if value is None:
        return "empty"
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def _referred(field: Mapping[str, Any]) -> str:
    return str(field["$ref"]).rpartition("/")[2]


if __name__ == "__main__":
    for path, content in generate().items():
        path.write_text(content, encoding="utf-8")
