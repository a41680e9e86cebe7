"""`headway recipe`: what a recipe may hold, and what one holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headway.cli.train import Overrides


def schema() -> None:
    """Print the JSON schema of all options, for editors that complete and check YAML."""
    print(json.dumps(recipe_schema(), ensure_ascii=False, indent=2))


def print_(recipe: str, /, *overrides: Overrides) -> None:
    """Print a recipe as YAML with all its defaults, as `headway train` would read it.

    Args:
        recipe: A YAML file, or the bare name of a recipe that ships with headway.
        overrides: Options of the recipe, `--section.option VALUE`.
    """
    from headway.recipe import Recipe, parse_overrides

    print(Recipe.load(recipe, parse_overrides(overrides)).to_yaml(), end="")


def recipe_schema() -> dict[str, Any]:
    """Return the JSON schema of a recipe; under `task` stand the options of each known task."""
    from headway.importing import load_class
    from headway.recipe import TASKS, Recipe
    from headway.tasks.base import Task

    content = Recipe.model_json_schema()
    definitions = content["$defs"]
    description = definitions.pop("Task")["description"]
    forms: list[dict[str, Any]] = [{"enum": list(TASKS), "description": "A task with its defaults."}]
    for name in TASKS:
        task = load_class(name, known=TASKS, option="task.type", base=Task).model_json_schema()
        definitions.update(task.pop("$defs", {}))
        # Two tasks share the key `type`; its value tells an editor whose options stand beside it.
        task["properties"]["type"] = {**task["properties"]["type"], "const": name}
        task["required"] = ["type", *task.get("required", [])]
        definitions[task["title"]] = task
        forms.append({"$ref": f"#/$defs/{task['title']}"})
    forms.append(
        {
            "type": "object",
            "description": "A task of your own: the import path of its class, and its options.",
            "properties": {"type": {"type": "string", "pattern": r"^[A-Za-z_][\w]*(\.[A-Za-z_][\w]*)+$"}},
            "required": ["type"],
        }
    )
    place: Mapping[str, Any] = content["properties"]["task"]
    content["properties"]["task"] = {
        "anyOf": forms,
        "title": "Task",
        "description": place.get("description", description),
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **content, "title": "headway recipe"}
