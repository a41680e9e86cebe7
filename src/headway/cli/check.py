"""`headway check`."""

from __future__ import annotations

import json
from typing import Annotated

from cyclopts import Parameter

from headway.cli.train import Overrides


def check(
    recipe: str,
    /,
    *overrides: Overrides,
    json_: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Look for trouble in the data of a recipe: leaks, duplicates, contradictions, lost tokens, label problems.

    Leaves with 3 if something would stop a training, with 0 otherwise.

    Args:
        recipe: A YAML file, or the bare name of a recipe that ships with headway.
        overrides: Options of the recipe.
        json_: Print one JSON object on standard output.
    """
    from headway.importing import many_imports

    with many_imports():
        from headway.errors import DataError
        from headway.models.backbone import load_backbone
        from headway.preparation import check_recipe
        from headway.recipe import Recipe, parse_overrides

    loaded = Recipe.load(recipe, parse_overrides(overrides))
    try:
        rows, report = check_recipe(loaded, load_backbone(loaded.model).tokenizer)
        found = {"rows": rows, **report.to_json()}
    except DataError as error:
        if not json_:
            raise
        found = {"rows": {}, "problems": [{"name": "unreadable", "message": str(error)}], "warnings": []}
    if json_:
        print(json.dumps(found, ensure_ascii=False))
    else:
        print("Rows: " + ", ".join(f"{split} {number:,}" for split, number in found["rows"].items()))
        for split, tokens in found.get("tokens", {}).items():
            windows = f" in {tokens['windows']:,} windows" if tokens["windows"] else ""
            print(f"Tokens, {split}: {tokens['tokens']:,}{windows}; {tokens['tokens_lost']:,} lost")
        for kind, mark in (("problems", "PROBLEM"), ("warnings", "warning")):
            for finding in found[kind]:
                print(f"\n{mark}  {finding['split']}: {finding['message']}\n  {finding['mend']}")
                for example in finding["examples"]:
                    print(f"    {example['where']}: {example['value']}")
        print(f"\n{len(found['problems'])} problems, {len(found['warnings'])} warnings.")
    return DataError.exit_code if found["problems"] else 0
