"""YAML as recipes are written in it: the rules of YAML 1.2 on reading, and quotes where two readers might differ."""

from __future__ import annotations

import re
from typing import Any

import yaml

from headway.errors import RecipeError

MAX_VALUES = 1_000_000
"""Values that a recipe may hold, its aliases written out."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2 core rules: `no` and `on` are words, `010` is ten, `1e-5` is a number; a key may stand only once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+", "-+0123456789"),
    ("tag:yaml.org,2002:float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("tag:yaml.org,2002:float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(str(node.value)))


class Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads back: every word that YAML 1.1 or 1.2 might take for something else is quoted."""


Dumper.yaml_implicit_resolvers = {
    first: [*yaml.SafeDumper.yaml_implicit_resolvers.get(first, []), *_Loader.yaml_implicit_resolvers.get(first, [])]
    for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Loader.yaml_implicit_resolvers}
}


def _word(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    # Outside double quotes these count as line ends, and a line end is folded into a blank.
    style = '"' if any(end in value for end in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


Dumper.add_representer(str, _word)


def parse_yaml(text: str, *, source: str) -> dict[str, Any]:
    """Return the mapping in a YAML text.

    Raises:
        RecipeError: it is not YAML, holds a key twice, or is not a mapping.
    """
    try:
        content = yaml.load(text, Loader=_Loader)
        _check_aliases(content, {})
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise RecipeError(f"{source}{where}: not valid YAML: {error.problem or error.context}.") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{source}: not valid YAML: {error}.") from None
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{source}: not usable as YAML: {error}.") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{source}: a recipe is a mapping of sections (task, data, model, ...), not {content!r:.60}.")
    return content


def _check_aliases(content: Any, sizes: dict[int, int]) -> int:
    """Return how many values a content would hold with each alias written out.

    Raises:
        ValueError: they are far more than a recipe needs, or without end.
    """
    if not isinstance(content, dict | list):
        return 1
    if id(content) not in sizes:
        sizes[id(content)] = 0
        parts = content.values() if isinstance(content, dict) else content
        sizes[id(content)] = 1 + sum(_check_aliases(part, sizes) for part in parts)
    size = sizes[id(content)]
    if not 0 < size <= MAX_VALUES:
        found = f"more than {MAX_VALUES:,} values" if size else "a value that holds itself"
        raise ValueError(f"its aliases (*name) stand for {found}; write out what you need")
    return size


def parse_value(text: str) -> Any:
    """Return one value of the command line as YAML would read it: a number, a list, a word.

    Lists and mappings are written in brackets. All else that is no number is taken as it stands, so that a delimiter
    of ``|`` or a column called ``#1 String`` needs no second pair of quotes.
    """
    try:
        if not text.lstrip().startswith(("[", "{", "'", '"')):
            loader = _Loader("")
            tag = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
            return loader.construct_object(yaml.ScalarNode(tag, text))
        value = yaml.load(text, Loader=_Loader)
        _check_aliases(value, {})
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    return value
