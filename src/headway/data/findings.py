"""What the checks of the data say: findings with places and a mend, and the view of a split they are made from.

`headway.data.checks` and `headway.data.label_checks` fill them; ``headway check`` and ``checks.json`` show them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from headway.data.table import Table

ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]

MAX_EXAMPLES = 5
MAX_SHOWN = 120
"""Characters of a value that an example shows."""


@dataclass(frozen=True, slots=True)
class TokenLoss:
    """How many tokens of a split truncation takes away; counted by whoever encodes the rows."""

    rows: int
    tokens: int
    """Tokens of the whole texts, before truncation."""
    tokens_lost: int
    rows_truncated: int
    max_length: int
    length_quantiles: Mapping[str, int] = field(default_factory=dict)
    """Tokens of a row before truncation by percent of rows: ``{"50": 17, "90": 31, "99": 44, "100": 61}``."""
    examples: Sequence[int] = ()
    """Numbers of some truncated rows."""
    windows: int = 0
    """Windows over which all texts are laid; 0 where they are not read in windows."""

    def to_json(self) -> dict[str, Any]:
        """Return the numbers by name."""
        return {name: value for name, value in asdict(self).items() if name != "examples"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of trouble in one split, or between two (``train, test``)."""

    name: str
    split: str
    count: int
    """All occurrences, not only those shown."""
    message: str
    mend: str
    examples: list[dict[str, str]] = field(default_factory=list)
    """At most five: ``where`` (file and line) and ``value``."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Report:
    """All findings: ``problems`` stop a training, ``warnings`` do not."""

    problems: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    tokens: Mapping[str, TokenLoss] = field(default_factory=dict)
    """How long the rows of each split are, and what is lost of them, where that was counted."""

    def to_json(self) -> dict[str, Any]:
        """Return what ``checks.json`` holds."""
        return {
            "problems": [finding.to_json() for finding in self.problems],
            "warnings": [finding.to_json() for finding in self.warnings],
            **({"tokens": {split: loss.to_json() for split, loss in self.tokens.items()}} if self.tokens else {}),
        }


def as_names(value: Any) -> Sequence[str]:
    """Return a gold value as label names: each item of a list, or the value itself."""
    return [str(item) for item in value] if isinstance(value, list | tuple) else [str(value)]


class SplitView:
    """One table as the checks see it: texts and gold of each row, and where the row stands."""

    def __init__(
        self,
        name: str,
        table: Table,
        text_columns: Sequence[str],
        label_column: str | None,
        problem_type: ProblemType,
        labels_of: Callable[[Any], Sequence[str]],
    ) -> None:
        self.name, self.problem_type, self._table = name, problem_type, table
        self.columns = [column for column in text_columns if column in table.column_names]
        values = [table.column(column) for column in self.columns]
        self.texts: list[tuple[str, ...]] = [
            tuple(_as_text(column[row]) for column in values) for row in range(len(table))
        ]
        self.gold: list[Any] | None = None
        self.labels: list[tuple[str, ...]] = [() for _ in range(len(table))]
        """Label names of each row, sorted; nothing where gold is missing or a number."""
        if label_column is not None and label_column in table.column_names:
            self.gold = list(table.column(label_column))
            if problem_type != "regression":
                self.labels = [() if self.lacks_gold(v) else tuple(sorted(labels_of(v))) for v in self.gold]
        self.label_column = label_column
        self.answers = self._answers()
        """What two equal texts should agree on: the labels, or the number; None where gold is missing."""

    def lacks_gold(self, value: Any) -> bool:
        """Whether a gold value is missing; no label at all is a valid answer where several are allowed."""
        if isinstance(value, str) and self.problem_type != "multi_label_classification":
            return not value.strip()
        return value is None or (isinstance(value, float) and math.isnan(value))

    def _answers(self) -> list[Any]:
        if self.gold is None:
            return [None] * len(self.texts)
        if self.problem_type == "regression":
            return [number(value) for value in self.gold]
        return [None if self.lacks_gold(v) else held for v, held in zip(self.gold, self.labels, strict=True)]

    def example(self, row: int, value: str | None = None) -> dict[str, str]:
        """Return where a row stands and what it holds."""
        return {
            "where": self._table.where(row),
            "value": shorten(" | ".join(self.texts[row]) if value is None else value),
        }

    def finding(
        self, name: str, rows: Sequence[int], what: str, mend: str, *, values: Sequence[str] | None = None
    ) -> Iterator[Finding]:
        """Yield a finding of these rows, if there are any; the message is ``what`` and their number."""
        if rows:
            shown = [
                self.example(row, None if values is None else values[index])
                for index, row in enumerate(rows[:MAX_EXAMPLES])
            ]
            yield Finding(name, self.name, len(rows), f"{what}: {len(rows):,}.", mend, shown)


def pairs_finding(
    name: str, first: SplitView, second: SplitView, pairs: Sequence[tuple[int, int]], what: str, mend: str
) -> Iterator[Finding]:
    """Yield a finding of pairs of rows, if there are any, naming both places."""
    if not pairs:
        return
    examples = []
    for one, other in pairs[:MAX_EXAMPLES]:
        left, right = first.example(one), second.example(other)
        where, value = f"{left['where']} and {right['where']}", right["value"]
        if left["value"] != value:
            value = f"{left['value']} / {value}"
        if name == "contradicting_labels":
            value = f"{_show(first.answers[one])} / {_show(second.answers[other])}: {value}"
        examples.append({"where": where, "value": value})
    split = first.name if first is second else f"{first.name}, {second.name}"
    yield Finding(name, split, len(pairs), f"{what}: {len(pairs):,}.", mend, examples)


def number(value: Any) -> float | None:
    """Return a gold value as a finite number, or None if it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def shorten(text: str) -> str:
    """Return a text as an example shows it: one line, not too long, with what no terminal or JSON can hold escaped."""
    shown = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text[:MAX_SHOWN])
    return shown if len(text) <= MAX_SHOWN else f"{shown}… ({len(text):,} characters)"


def list_names(names: Sequence[str]) -> str:
    """Return the first names and how many more there are."""
    more = f" and {len(names) - MAX_EXAMPLES:,} more" if len(names) > MAX_EXAMPLES else ""
    return ", ".join(shorten(name) for name in names[:MAX_EXAMPLES]) + more


def _as_text(value: Any) -> str:
    """Return what a cell of input says; tokens and choices are joined by a blank."""
    if value is None:
        return ""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _show(answer: Any) -> str:
    return ", ".join(answer) if isinstance(answer, tuple) else f"{answer:g}"
