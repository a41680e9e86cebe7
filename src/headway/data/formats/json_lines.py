"""JSON Lines (one object a line) and JSON files that hold one list of rows. Values keep their JSON type."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from headway.data.formats.archive import single_file
from headway.data.formats.content import Complaints, Content, ContentBuilder, Wanted
from headway.data.formats.decoding import opened_text
from headway.data.options import Source
from headway.errors import DataError, did_you_mean


def read_lines(source: Source, *, wanted: Wanted, complaints: Complaints) -> Content:
    """Return the wanted keys of a JSON Lines file; bad lines are added to ``complaints``.

    Raises:
        DataError: the file as a whole cannot be read, or no line has a key that is wanted.
    """
    file = single_file(source.path)
    rows = _Rows(source, wanted=wanted, complaints=complaints, unit="line")
    with opened_text(file, source.encoding) as text:
        for number, line in enumerate(text, 1):
            if not line.strip():
                continue
            try:
                value = _parse(line.rstrip())
            except ValueError as error:
                if number == 1 and line.lstrip().startswith(("[", "{")) and _is_cut(error):
                    raise DataError(
                        f"{file.name}: the first line is not a whole JSON value. If the file holds one list or one "
                        "object over several lines, set data.format: json."
                    ) from None
                complaints.error(f"line {number}", _reason(error, line))
                continue
            if number == 1 and isinstance(value, list) and not source.column_names:
                raise DataError(f"{file.name} holds one list, not an object a line: set data.format: json.")
            rows.add(number, value)
    return rows.finish()


def read_whole(source: Source, *, wanted: Wanted, complaints: Complaints) -> Content:
    """Return the wanted keys of the list of rows in a JSON file: the file itself, or the list under ``data.field``.

    Rows are objects, or lists whose places `data.column_names` names.

    Raises:
        DataError: the file is not JSON, or holds no such list.
    """
    file = single_file(source.path)
    with opened_text(file, source.encoding) as stream:
        text = stream.read()
    try:
        content = _parse(text)
    except ValueError as error:
        message = _reason(error, text)
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            message += " If each line holds one object, set data.format: jsonl."
        raise DataError(f"{file.name}: {message}") from None
    rows = _Rows(source, wanted=wanted, complaints=complaints, unit="item")
    for number, value in enumerate(_list_in(content, source, file.name), 1):
        rows.add(number, value)
    return rows.finish()


def _list_in(content: Any, source: Source, name: str) -> list[Any]:
    if isinstance(content, list) and source.field is None:
        return content
    if not isinstance(content, dict):
        found = "a list" if isinstance(content, list) else _kind(content)
        raise DataError(
            f"{name} holds {found}"
            + (
                f", so it has no key {source.field!r}. Remove data.field."
                if source.field
                else ", where a list of rows is expected."
            )
        )
    lists = [key for key, value in content.items() if isinstance(value, list)]
    field = source.field
    if field is None and len(lists) == 1:
        field = lists[0]
    if field is None:
        shown = ", ".join(map(repr, lists)) or "none"
        raise DataError(f"{name} holds one object. Set data.field to the key of its rows; lists stand under: {shown}.")
    if field not in lists:
        what = "is not a list" if field in content else "does not exist"
        shown = ", ".join(map(repr, lists)) or "no key"
        raise DataError(f"{name}: the key {field!r} {what}.{did_you_mean(field, lists)} Lists stand under {shown}.")
    rows: list[Any] = content[field]
    return rows


class _Rows:
    """Takes objects (or lists with named places) and keeps the keys that are wanted."""

    def __init__(self, source: Source, *, wanted: Wanted, complaints: Complaints, unit: str) -> None:
        self._names = list(source.column_names or ())
        self._wanted = wanted
        self._kept = wanted.names
        self._inner = [name for name in wanted.names if "." in name]
        self._complaints = complaints
        self._unit = unit
        self._builder = ContentBuilder(self._kept, unit=unit)
        self._found: dict[str, None] = {}

    def add(self, number: int, value: Any) -> None:
        if isinstance(value, list) and self._names:
            if len(value) != len(self._names):
                self._complaints.error(
                    f"{self._unit} {number}", f"{len(self._names)} values expected, {len(value)} found: {value!r:.120}."
                )
                return
            value = dict(zip(self._names, value, strict=True))
        if not isinstance(value, dict):
            mend = " Name its places by data.column_names." if isinstance(value, list) else ""
            self._complaints.error(f"{self._unit} {number}", f"an object expected, {_kind(value)} found.{mend}")
            return
        if self._inner:
            value = {**_reached(value, self._inner), **value}
        self._found.update(dict.fromkeys(value))
        self._builder.append([value.get(name) for name in self._kept], number)

    def finish(self) -> Content:
        if not len(self._builder):
            self._complaints.raise_errors()
        content = self._builder.build()
        if not content.places:
            return content
        chosen = self._wanted.choose(list(self._found), source=self._complaints.name)
        return Content({name: content.columns[name] for name in chosen}, content.places, content.unit)


def _reached(value: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return what stands within mappings under dotted names (``translation.en``), of those that are there."""
    found = {}
    for name in names:
        place: Any = value
        for part in name.split("."):
            if not isinstance(place, dict) or part not in place:
                break
            place = place[part]
        else:
            found[name] = place
    return found


def _parse(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("the values are nested too deeply") from None


def _unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return mapping


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _is_cut(error: ValueError) -> bool:
    return isinstance(error, json.JSONDecodeError) and error.pos >= len(error.doc.rstrip())


def _reason(error: ValueError, text: str) -> str:
    if not isinstance(error, json.JSONDecodeError):
        return f"not usable as JSON: {error}, in {text[:80].strip()!r}."
    around = text[max(0, error.pos - 30) : error.pos + 30].strip()
    place = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
    return f"not valid JSON: {error.msg} at {place}, near {around!r}."


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(
        type(value), "a number"
    )
