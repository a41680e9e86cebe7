"""What is wrong with the data, said before a model is loaded: leaks, contradictions, label problems, damage, loss.

Called by ``headway check`` and at the start of ``headway train`` with the tables of all splits. Nothing is changed:
each finding says what, where, how often, and how to mend it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headway.data.findings import (
    MAX_EXAMPLES,
    Finding,
    ProblemType,
    Report,
    SplitView,
    TokenLoss,
    as_names,
    number,
    pairs_finding,
)
from headway.data.label_checks import check_labels
from headway.data.near_duplicates import THRESHOLD, NearDuplicates

if TYPE_CHECKING:
    from headway.data.table import Table

MAX_COMPARED_ROWS = 50_000
"""Rows of a split that are searched for near duplicates; of longer splits a sample."""
MAX_CHARACTERS = 100_000
MAX_WORD = 10_000
MIN_TRAIN_ROWS = 20
MAX_TOKENS_LOST = 0.01

PROBLEMS = frozenset(
    [
        "no_rows",
        "all_texts_empty",
        "lone_surrogate",
        "missing_label",
        "not_a_number",
        "single_class",
        "label_not_in_train",
    ]
)
"""The findings that stop a training; all others are warnings."""

# UTF-8 read as Latin-1 or Windows-1252: a lead byte as a letter, then a continuation byte as a sign. Cyrillic and
# Greek letters take two such pairs in a row, because one alone also occurs in honest text. The control characters
# U+0080 to U+009F are Windows-1252 read as Latin-1; no text means them, save U+0085, which ends a line.
_TAIL = "[\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
_MOJIBAKE = re.compile(f"[\ufffd\x80-\x84\x86-\x9f]|[ÂÃ]{_TAIL}|â€{_TAIL}|ðŸ{_TAIL}|ï»¿|ï¿½|(?:[ÎÏÐÑ]{_TAIL}){{2}}")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LONG_WORD = re.compile(rf"\S{{{MAX_WORD + 1},}}")


def check_tables(
    splits: Mapping[str, Table],
    *,
    text_columns: Sequence[str],
    label_column: str | None,
    problem_type: ProblemType = "single_label_classification",
    labels_of: Callable[[Any], Sequence[str]] = as_names,
    tokens_lost: Mapping[str, TokenLoss] | None = None,
    listed_labels: Sequence[str] = (),
    seed: int = 0,
) -> Report:
    """Check the tables of one recipe and return every finding.

    Args:
        splits: the tables by split; ``train`` is the one to learn from, the others are compared with it.
        text_columns: the columns a model reads; one that a table lacks is left out for that table.
        label_column: the gold column, if the task has one.
        problem_type: what the gold column holds: one label, several, or a number.
        labels_of: splits a gold value into label names, as the task does.
        tokens_lost: what truncation costs, by split, where that is known.
        listed_labels: the labels of the task; those that train lacks were listed in the recipe.
        seed: chooses the rows of very long splits that are searched for near duplicates.
    """
    views = [
        SplitView(name, table, text_columns, label_column, problem_type, labels_of) for name, table in splits.items()
    ]
    # A split taken out of another carries the same remarks of the reader.
    odd = {remark: name for name, table in reversed(list(splits.items())) for remark in table.warnings}
    mend = "Look at the place named; if the rows are as you meant them, nothing needs to be done."
    findings = [Finding("odd_file", name, 1, remark, mend) for remark, name in odd.items()]
    findings += [finding for view in views for finding in _check_split(view)]
    train = next((view for view in views if view.name == "train"), None)
    if train is not None and train.texts:
        findings += _check_train(train)
    if train is not None and train.gold is not None and problem_type != "regression":
        labelled = [view for view in views if view is not train and view.gold is not None]
        findings += check_labels(train, labelled, listed=listed_labels)
    for position, first in enumerate(views[:-1]):
        findings += _check_against(first, views[position + 1 :], seed)
    for view in views:
        if tokens_lost is not None and view.name in tokens_lost:
            findings += _check_tokens(view, tokens_lost[view.name])
    return Report(
        problems=tuple(finding for finding in findings if finding.name in PROBLEMS),
        warnings=tuple(finding for finding in findings if finding.name not in PROBLEMS),
        tokens=tokens_lost or {},
    )


def _check_split(view: SplitView) -> Iterator[Finding]:
    """Check one split for itself."""
    if not len(view.labels):
        mend = "Give it a file with rows under its header, or leave the split out."
        yield Finding("no_rows", view.name, 0, f"{view.name} has no rows.", mend)
        return
    for place, column in enumerate(view.columns):
        yield from _check_texts(view, column, [texts[place] for texts in view.texts])
    if view.gold is None:
        return
    missing = [row for row, value in enumerate(view.gold) if view.lacks_gold(value)]
    yield from view.finding(
        "missing_label",
        missing,
        f"Rows without a value in column '{view.label_column}'",
        "Fill in the label, or remove the row.",
    )
    if view.problem_type == "regression":
        wrong = [row for row, v in enumerate(view.gold) if not view.lacks_gold(v) and number(v) is None]
        yield from view.finding(
            "not_a_number",
            wrong,
            f"Rows with something other than a finite number in column '{view.label_column}'",
            "Write numbers with a point, such as 3.25, or choose a classification task.",
            values=[str(view.gold[row]) for row in wrong],
        )


def _check_texts(view: SplitView, column: str, texts: Sequence[str]) -> Iterator[Finding]:
    """Check the texts of one column."""

    def rows_where(holds: Callable[[str], Any]) -> list[int]:
        return [row for row, text in enumerate(texts) if holds(text)]

    empty = rows_where(lambda text: not text.strip())
    everything = len(empty) == len(texts)
    yield from view.finding(
        "all_texts_empty" if everything else "empty_text",
        empty,
        f"Rows with an empty or blank column '{column}'" + (", which is all of them" if everything else ""),
        "Name the right column in data.columns." if everything else "Fill in the text, or remove the rows.",
        values=[repr(texts[row]) for row in empty],
    )
    checks: list[tuple[str, Callable[[str], Any], str, str]] = [
        (
            "lone_surrogate",
            _has_surrogate,
            "with half of a surrogate pair, which is no character and which no tokenizer accepts",
            "Write the file again from its source in UTF-8.",
        ),
        (
            "mojibake",
            _MOJIBAKE.search,
            "with signs of a wrong encoding (such as 'Ã©' for 'é', or the replacement character)",
            "Read the original file with its true encoding (data.encoding), or write it again in UTF-8.",
        ),
        (
            "control_characters",
            _CONTROL.search,
            "with control characters such as NUL",
            "Remove them; they often come from a damaged or binary file.",
        ),
        (
            "very_long_text",
            lambda text: len(text) > MAX_CHARACTERS,
            f"longer than {MAX_CHARACTERS:,} characters",
            "Split the documents, or expect that only the part within data.max_length is read "
            "(data.truncation: window reads them whole).",
        ),
        (
            "very_long_word",
            lambda text: len(text) > MAX_WORD and _LONG_WORD.search(text),
            f"with more than {MAX_WORD:,} characters without a blank",
            "Look at these rows: they are often encoded files (base64) or lost line ends.",
        ),
    ]
    for name, holds, what, mend in checks:
        rows = rows_where(holds)
        matches = [_around(texts[row], holds(texts[row])) for row in rows[:MAX_EXAMPLES]]
        yield from view.finding(name, rows, f"Texts in column '{column}' {what}", mend, values=matches)


def _check_train(train: SplitView) -> Iterator[Finding]:
    """Check what only matters for the rows to learn from."""
    if len(train.texts) < MIN_TRAIN_ROWS:
        message = f"Rows of train: {len(train.texts)}. Fewer than {MIN_TRAIN_ROWS} teach next to nothing."
        yield Finding("small_train", train.name, len(train.texts), message, "Add rows, or read the scores with doubt.")
    first: dict[tuple[Any, ...], int] = {}
    by_text: dict[tuple[str, ...], int] = {}
    repeated, contradicting = [], []
    for row, (texts, answer) in enumerate(zip(train.texts, train.answers, strict=True)):
        if not any(text.strip() for text in texts):
            continue
        if first.setdefault((texts, answer), row) != row:
            repeated.append((first[texts, answer], row))
        elif answer is not None and by_text.setdefault(texts, row) != row:
            contradicting.append((by_text[texts], row))
    yield from pairs_finding(
        "duplicate",
        train,
        train,
        repeated,
        "Rows of train that repeat an earlier row, text and label",
        "Remove the repetitions, unless they are meant to weigh more.",
    )
    yield from pairs_finding(
        "contradicting_labels",
        train,
        train,
        contradicting,
        "Rows of train that hold the text of an earlier row under another label",
        "Decide which label is right; a model cannot learn both.",
    )
    if train.problem_type == "regression" and train.gold is not None:
        numbers = {answer for answer in train.answers if answer is not None}
        if len(numbers) == 1:
            message = f"All rows of train have the same number, {numbers.pop():g}: there is nothing to learn."
            mend = f"Name the right column in data.columns; 'label' is read from '{train.label_column}'."
            yield Finding("single_class", train.name, len(train.texts), message, mend)


def _check_against(first: SplitView, others: Sequence[SplitView], seed: int) -> Iterator[Finding]:
    """Check other splits for rows that stand in ``first`` too, and for texts on which the two disagree."""
    said: defaultdict[tuple[str, ...], dict[Any, int]] = defaultdict(dict)
    for row, (texts, answer) in enumerate(zip(first.texts, first.answers, strict=True)):
        said[texts].setdefault(answer, row)
    known, sampled = _sample(range(len(first.texts)), seed)
    near = NearDuplicates([first.texts[row] for row in known])
    for second in others:
        if second.columns != first.columns:
            continue
        filled = [row for row, texts in enumerate(second.texts) if any(text.strip() for text in texts)]
        shared = [(min(said[second.texts[row]].values()), row) for row in filled if second.texts[row] in said]
        yield from pairs_finding(
            "leak",
            first,
            second,
            shared,
            f"Rows of {second.name} whose text is also in {first.name}",
            "Remove them from one of the two: a score on rows already seen is too high.",
        )
        yield from pairs_finding(
            "contradicting_labels",
            first,
            second,
            [pair for row in filled for pair in _opposed(said.get(second.texts[row], {}), second.answers[row], row)],
            f"Rows of {second.name} whose text has another label in {first.name}",
            "Decide which label is right.",
        )
        asked, also_sampled = _sample([row for row in filled if second.texts[row] not in said], seed)
        searched = f"at least {THRESHOLD:.0%} of their letter sequences are the same"
        if sampled or also_sampled:
            searched += f"; searched in a sample of {MAX_COMPARED_ROWS:,} rows of a split"
        yield from pairs_finding(
            "near_leak",
            first,
            second,
            [(known[pair.first], asked[pair.second]) for pair in near.find([second.texts[row] for row in asked])],
            f"Rows of {second.name} that nearly repeat a text of {first.name} ({searched})",
            "Look at them; where they are the same text, remove them from one of the two.",
        )


def _opposed(said: Mapping[Any, int], answer: Any, row: int) -> Iterator[tuple[int, int]]:
    """Yield the first row that gives the same text another answer, with this row, if none gives the same answer."""
    others = [place for other, place in said.items() if other is not None]
    if others and answer is not None and answer not in said:
        yield min(others), row


def _check_tokens(view: SplitView, loss: TokenLoss) -> Iterator[Finding]:
    """Check how much truncation takes away."""
    share = loss.tokens_lost / loss.tokens if loss.tokens else 0.0
    if share <= MAX_TOKENS_LOST:
        return
    message = (
        f"{share:.1%} of the tokens of {view.name} ({loss.tokens_lost:,} of {loss.tokens:,}, in "
        f"{loss.rows_truncated:,} of {loss.rows:,} rows) are lost to data.max_length={loss.max_length}."
    )
    enough = loss.length_quantiles.get("99")
    mend = "Raise data.max_length, or choose another data.truncation."
    if enough is not None:
        mend = f"data.max_length={enough} keeps 99 % of the rows whole; or choose another data.truncation."
    examples = [view.example(row) for row in loss.examples[:MAX_EXAMPLES]]
    yield Finding("tokens_lost", view.name, loss.tokens_lost, message, mend, examples)


def _sample(rows: Sequence[int], seed: int) -> tuple[Sequence[int], bool]:
    """Return at most `MAX_COMPARED_ROWS` of the rows, in their order, and whether any were left out."""
    if len(rows) <= MAX_COMPARED_ROWS:
        return rows, False
    chosen = np.random.default_rng(seed).choice(len(rows), size=MAX_COMPARED_ROWS, replace=False)
    return [rows[place] for place in np.sort(chosen)], True


def _has_surrogate(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _around(text: str, found: Any) -> str:
    """Return the text from a little before what a search found, so that an example shows it."""
    return text if not isinstance(found, re.Match) else text[max(0, found.start() - 20) :]
