"""Write the table of docs/how-to/recipes.md from the recipes that ship.

Run it after a change of a recipe: python docs/generate_recipes.py. A test compares.

What a recipe is for, and the published figure, are taken from the comment lines with which it opens.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

DOCS = Path(__file__).parent
PAGE = DOCS / "how-to" / "recipes.md"
RECIPES = DOCS.parent / "src" / "headway" / "recipes"
TABLE = re.compile(r"(?<=<!-- table -->\n).*?(?=<!-- end of table -->)", re.DOTALL)
HEADER = ["recipe", "what it learns", "task", "read from the hub", "published", "local file"]
SENTENCE = re.compile(r"(?<! al\.)(?<=[.?!;])\s")
"""Where a sentence ends; not after `et al.`"""
LOCAL = re.compile(r"(?:Without a network|Local files|The hub has no copy)")


def renewed(page: str) -> str:
    """Return the page with its table made anew."""
    rows = [HEADER, ["---"] * len(HEADER), *(row(path) for path in sorted(RECIPES.glob("*.yaml")))]
    table = "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n" for cells in rows)
    return TABLE.sub(lambda _: table, page)


def row(path: Path) -> list[str]:
    """Return one recipe's cells: name, purpose, task, hub source, published figure, local file."""
    text = path.read_text(encoding="utf-8")
    comment = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    recipe = yaml.safe_load(text)
    about = LOCAL.split(comment)[0]
    purpose, published, figure = about.partition("Published")
    source = str(recipe["data"]["train"])
    if source.startswith("../samples/"):
        source = "comes with headway"
    elif source.startswith("hub:"):
        source = f"`{source.removeprefix('hub:').partition('[')[0]}`"
    else:
        source = "no"
    # A list of files stands in quotes.
    files = re.search(r"--data\.train ('[^']*'|\"[^\"]*\"|\S+)", comment)
    local = "" if files is None else files[1].strip(";").strip("'\"")
    if path_inside := re.search(r"path: ([^,}]+)", local):
        local = path_inside[1]
    # A figure without digits is none.
    known = figure.lstrip(": ").strip() if published and re.search(r"\d\d\.\d", figure) else ""
    return [
        f"`{path.stem}`",
        SENTENCE.split(purpose.strip())[0].rstrip(";"),
        str(recipe["task"]["type"] if isinstance(recipe["task"], dict) else recipe["task"]),
        source,
        known,
        local and f"`{local}`",
    ]


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
