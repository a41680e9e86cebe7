"""Tell by names and values which columns of a table are texts, which is the label, and what kind of label it is.

Serves `headway.data.guessing`; a recipe names its columns and never comes here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from headway.errors import DataError, did_you_mean

LABELS = (
    "label", "labels", "gold", "gold_label", "gold_labels", "class", "classes", "category", "categories", "sentiment",
    "intent", "emotion", "emotions", "topic", "polarity", "stars", "star", "rating", "score", "similarity",
    "similarity_score", "quality", "same", "is_duplicate", "duplicate", "toxic", "spam", "answer", "target", "tag",
    "tags", "y", "output",
)  # fmt: skip
TEXTS = (
    "text", "sentence", "review", "review_text", "review_body", "content", "comment", "comment_text", "body", "message",
    "tweet", "utterance", "query", "question", "document", "article", "passage", "description", "abstract", "headline",
    "title", "input", "premise", "prompt", "x",
)  # fmt: skip
PAIRS = (
    ("text", "text_pair"), ("premise", "hypothesis"), ("question", "sentence"), ("question", "passage"),
    ("question", "context"), ("query", "passage"), ("query", "document"), ("context", "response"),
    ("claim", "evidence"), ("source", "target_text"), ("title", "body"),
)  # fmt: skip
SUMMARIES = ("summary", "highlights", "tldr", "tl_dr")
_LANGUAGES = (
    "af ar az be bg bn bs ca cs cy da de el en eo es et eu fa fi fr ga gl gu ha he hi hr hu hy is it ja ka kk km kn "
    "ko lt lv mk ml mn mr ms mt my ne nl no pa pl ps pt ro ru si sk sl so sq sr sv sw ta te th tl tr uk ur uz vi xh yo "
    "zh zu"
)
"""Codes of ISO 639-1, without `id`: a column of that name numbers the rows more often than it holds Indonesian."""
# What tells two columns of a pair apart, where all else in their names is equal.
_NUMBERED = ("1", "2"), ("a", "b"), ("one", "two"), ("left", "right"), ("first", "second")
LONG = 60
"""Characters beyond which a value is neither a label nor a name."""
MAX_CLASSES = 200


def roles(
    columns: Mapping[str, Sequence[Any]], given: Mapping[str, Any], *, path: str, notes: list[str]
) -> dict[str, str]:
    """Return the file's column for the task's text, label and perhaps text_pair."""
    for task, name in given.items():
        if not isinstance(name, str) or name not in columns:
            raise DataError(
                f"{path}: there is no column {name!r} (data.columns.{task}).{did_you_mean(str(name), columns)} The "
                f"columns are {', '.join(map(repr, columns))}."
            )
    found = dict(given)
    free = [name for name in columns if name not in found.values()]
    if "label" not in found:
        found["label"] = _label(free, columns, path=path, notes=notes)
        free.remove(found["label"])
    texts = [name for name in free if _mean_length(columns[name]) > 0]
    if "text" not in found:
        if not texts:
            raise DataError(
                f"{path}: no column holds texts beside the label {found['label']!r}. The columns are "
                f"{', '.join(map(repr, columns))}; say which is meant: --data.columns.text NAME."
            )
        found.update(_texts(texts, columns, notes=notes))
    return {task: found[task] for task in ("text", "text_pair", "label") if task in found}


def written_pair(columns: Mapping[str, Sequence[Any]]) -> tuple[str, dict[str, str]] | None:
    """Return the task that learns to write one column from another, and which these are, if their names say so.

    A summary, two languages, or source and target; a label beside them speaks for classification.
    """
    if any(word(name) in LABELS and _may_be_label(values) for name, values in columns.items()):
        return None
    texts = [name for name, values in columns.items() if _mean_length(values) > 0]
    by_word = {word(name): name for name in reversed(texts)}
    if summary := next((by_word[one] for one in SUMMARIES if one in by_word), None):
        named = [by_word[one] for one in ("dialogue", *TEXTS) if one in by_word]
        others = sorted((name for name in texts if name != summary), key=lambda name: -_mean_length(columns[name]))
        source = next(iter([*named, *others]), None)
        return None if source is None else ("summarization", {"source": source, "target": summary})
    if {"source", "target"} <= by_word.keys():
        return "translation", {one: by_word[one] for one in ("source", "target")}
    languages = [name for name in texts if re.split("[_-]", name.strip().lower())[0] in _LANGUAGES.split()]
    if len(languages) == 2:
        return "translation", dict(zip(("source", "target"), languages, strict=True))
    return None


def _label(free: Sequence[str], columns: Mapping[str, Sequence[Any]], *, path: str, notes: list[str]) -> str:
    by_word = {word(name): name for name in reversed(free)}
    named = [by_word[one] for one in LABELS if one in by_word and _may_be_label(columns[by_word[one]])]
    if named:
        return named[0]
    likely = [name for name in free if _may_be_label(columns[name])]
    if not likely:
        shown = ", ".join(
            f"{name!r} ({len(set(map(str, columns[name]))):,} different values)" for name in list(columns)[:20]
        )
        raise DataError(
            f"{path}: no column looks like a label (a few values that recur, or numbers to predict). The columns are "
            f"{shown}. Say which is meant: --data.columns.label NAME."
        )
    # The last of those with the shortest values: tables end in what is to be told.
    chosen = min(
        reversed(likely), key=lambda name: (not _is_code(columns[name]), round(_mean_length(columns[name]), -1))
    )
    others = [name for name in likely if name != chosen]
    if others:
        notes.append(f"The label may also be {' or '.join(map(repr, others))}.")
    return chosen


def _texts(texts: Sequence[str], columns: Mapping[str, Sequence[Any]], *, notes: list[str]) -> dict[str, str]:
    by_word = {word(name): name for name in reversed(texts)}
    pairs = [(by_word[one], by_word[two]) for one, two in PAIRS if one in by_word and two in by_word]
    if pair := numbered_pair(texts) or (pairs[0] if pairs else None):
        return {"text": pair[0], "text_pair": pair[1]}
    named = [by_word[one] for one in TEXTS if one in by_word]
    longest = sorted(texts, key=lambda name: -_mean_length(columns[name]))
    chosen = named[0] if named else longest[0]
    others = [
        name for name in texts
        if name != chosen and _mean_length(columns[name]) > 20
        and _mean_length(columns[name]) > 0.15 * _mean_length(columns[chosen])
    ]  # fmt: skip
    if not named and len(others) == 1 and re.fullmatch(r"column_\d+", chosen):
        notes.append("Two columns hold texts, so each row is taken as a pair; for one text, rename text_pair.")
        first, second = (name for name in columns if name in (chosen, others[0]))
        return {"text": first, "text_pair": second}
    if others:
        notes.append(f"The text may also be {' or '.join(map(repr, others))}; `text: [one, other]` joins two columns.")
    return {"text": chosen}


def numbered_pair(names: Sequence[str]) -> tuple[str, str] | None:
    """Return two names that differ in a number or a letter only, of texts rather than of their ids."""
    by_word = {word(name): name for name in names if not re.search(r"id(_?[12ab])?$", word(name))}
    for one, two in _NUMBERED:
        for one_word, name in by_word.items():
            for place in re.finditer(re.escape(one), one_word):
                other = one_word[: place.start()] + two + one_word[place.end() :]
                is_part = len(one) > 1 or not (one_word[: place.start()][-1:].isalpha() and one.isalpha())
                # Four answers to choose from are no pair.
                more = [one_word[: place.start()] + n + one_word[place.end() :] for n in "03"]
                if other in by_word and other != one_word and is_part and not any(one in by_word for one in more):
                    return name, by_word[other]
    return None


def _may_be_label(values: Sequence[Any]) -> bool:
    """Whether values recur as labels do, or are numbers that are no mere count of the rows."""
    if any(isinstance(value, list) for value in values):
        return True
    present = [value for value in values if value not in (None, "")]
    distinct = {str(value) for value in present}
    if len(distinct) < 2 or len(present) < 0.5 * len(values):
        return False
    if all(is_number(value) for value in distinct):
        has_fractions = any(float(value) != int(float(value)) for value in distinct)
        return has_fractions or len(distinct) <= max(20, len(present) // 5)
    shortest = sum(map(len, distinct)) / len(distinct) <= LONG
    return shortest and len(distinct) <= max(5, len(present) // 4)


def _is_code(values: Sequence[Any]) -> bool:
    """Whether values are numbers, or lists of them in one field, such as stand for labels."""
    return all(re.fullmatch(r"-?[\d.]+([,;|][\d.]+)*", str(value)) for value in values if value not in (None, ""))


def gold(values: Sequence[Any], delimiter: str | None) -> tuple[list[Any], str | None]:
    """Return the labels of each row, taken apart where a field holds several, and what stood between them."""
    if delimiter:
        return [value.split(delimiter) if isinstance(value, str) else value for value in values], None
    texts = [value for value in values if isinstance(value, str) and value]
    whole = set(texts)
    for candidate in ",;|":
        several = sum(candidate in text for text in texts)
        parts = {part for text in whole for part in text.split(candidate)}
        # Combinations outnumber what they are made of; and a blank after it is how prose writes a comma.
        is_list = several > 0.005 * len(texts) and several >= 2 and len(parts) < len(whole)
        if (
            is_list
            and len(parts) <= MAX_CLASSES
            and "" not in parts
            and not any(part.startswith(" ") for part in parts)
        ):
            return [text.split(candidate) if isinstance(text, str) and text else [] for text in values], candidate
    return list(values), None


def problem_type(values: Sequence[Any], name: str) -> str:
    """Return what kind of label a column named ``name`` holds, in transformers' words."""
    if any(isinstance(value, list) for value in values):
        return "multi_label_classification"
    distinct = {str(value) for value in values if value not in (None, "")}
    if not all(is_number(value) for value in distinct):
        return "single_label_classification"
    numbers = [float(value) for value in distinct]
    if any(number != int(number) for number in numbers):
        return "regression"
    is_scale = word(name) in ("score", "similarity", "similarity_score", "rating")
    # Codes of classes are few, or lie close together; a scale of many steps is a measurement.
    is_code = len(numbers) <= 10 or (min(numbers) in (-1, 0, 1) and max(numbers) < len(numbers) + 2)
    return "single_label_classification" if is_code and not (is_scale and len(numbers) > 10) else "regression"


def _mean_length(values: Sequence[Any]) -> float:
    """Return the mean number of characters of texts; numbers in text form count as none."""
    texts = [value for value in values if isinstance(value, str) and not is_number(value)]
    return sum(map(len, texts)) / len(values) if len(texts) > 0.5 * len(values) else 0.0


def word(name: str) -> str:
    """Return a column's name without case and punctuation, to compare it by."""
    return re.sub(r"\W+", "_", name.strip().lower()).strip("_")


def is_number(value: Any) -> bool:
    """Whether a value is a number, or a text that reads as one."""
    return re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", str(value)) is not None
