"""Labels as they stand in a file become the names that the model will give: codes are looked up, lists taken apart."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from headway.data.formats.archive import File, find
from headway.data.formats.content import Complaints, Values, as_list, compact
from headway.data.formats.decoding import lines_of, opened_text
from headway.data.options import Source
from headway.errors import DataError, did_you_mean


def named_labels(
    values: Values, column: str, reading: Source, complaints: Complaints, place: Callable[[int], str]
) -> Values:
    """Return the gold values of all rows, by name; each row whose value cannot serve is complained of."""
    names = load_names(reading.label_names) if reading.label_names else None
    kinds: dict[str, int] = {}
    # A column has few different labels, so each is looked at once.
    known: dict[Any, Any] = {}
    labels: list[Any] = []
    for row, value in enumerate(as_list(values)):
        kind = _kind(value)
        key = (kind, value if kind != "list" else json.dumps(value, default=repr))
        if key not in known:
            try:
                known[key] = _named(value, names, reading.label_delimiter)
                kinds.setdefault(kind, row)
            except ValueError as error:
                known[key] = error
        label = known[key]
        if isinstance(label, ValueError):
            complaints.error(place(row), f"column {column!r}: {label}")
            label = None
        labels.append(label)
    if len(kinds) > 1:
        shown = ", ".join(f"{kind} in {place(row)}" for kind, row in kinds.items())
        complaints.error(
            place(max(kinds.values())), f"column {column!r} mixes kinds of values: {shown}. Write all alike."
        )
    return compact(labels)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    return {str: "text", list: "list", type(None): "null", dict: "an object"}.get(type(value), type(value).__name__)


def _named(value: Any, names: Mapping[str, str] | None, delimiter: str | None) -> Any:
    if value is None:
        raise ValueError("the label is missing or null.")
    if isinstance(value, list):
        return [_named(part, names, None) for part in value]
    if isinstance(value, str):
        if delimiter:
            return [_named(part, names, None) for part in value.split(delimiter)] if value else []
        if not value.strip():
            raise ValueError("the label is empty.")
        if "\0" in value:
            raise ValueError(f"the label {value!r:.60} holds a NUL byte. Remove it.")
    if names is None:
        return value
    raw = value if isinstance(value, str) else json.dumps(value, default=str)
    if raw not in names:
        shown = ", ".join(list(names)[:20])
        raise ValueError(f"{raw!r:.60} is not among data.label_names ({shown}).{did_you_mean(raw, names)}")
    return names[raw]


_ONE_TAG = "(?:O|[BIESLU]-[^,|;/+&]+)"
_SEVERAL_TAGS = re.compile(f"{_ONE_TAG}([,|;/+&]){_ONE_TAG}(?:\\1{_ONE_TAG})*")


def several_tags(tag: str) -> str:
    """Return what is wrong with the tag of a token that holds several (``B-person,B-work``), or nothing."""
    match = _SEVERAL_TAGS.fullmatch(tag)
    if match is None:
        return ""
    return (
        f"the token has several tags ({tag!r:.80}), and one is learnt. Set data.label_delimiter: {match[1]!r}, and the "
        "first of them counts; or leave one."
    )


def first_tag(tag: Any, delimiter: str) -> Any:
    """Return the first of the tags of a token; a tag that is nothing but the delimiter (the comma's own) stays."""
    return tag.split(delimiter)[0] or tag if isinstance(tag, str) else tag


def load_names(given: Mapping[str, str] | str) -> Mapping[str, str]:
    """Return code -> name, as given or from a file with a name a line, or with lines of code, tab, name.

    Raises:
        DataError: the file cannot be read, has a blank line or gives a code two names.
    """
    if not isinstance(given, str):
        return given
    with opened_text(File(given, find(given)), None) as text:
        lines = [line.strip() for line in lines_of(text)]
    while lines and not lines[-1]:
        lines.pop()
    if "" in lines:
        raise DataError(f"{given}, line {lines.index('') + 1}: blank, where the name of a label is expected.")
    pairs = [line.split("\t", 1) for line in lines]
    if not all(len(pair) == 2 for pair in pairs):
        pairs = [[str(number), line] for number, line in enumerate(lines)]
    names = {code.strip(): name.strip() for code, name in pairs}
    if len(names) < len(pairs):
        raise DataError(f"{given}: {Path(given).name} gives one code two names. Write each code once.")
    return names
