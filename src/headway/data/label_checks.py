"""What is wrong with the labels: written in two ways, rare, out of balance, or in one split only.

A part of `headway.data.checks`, for tasks whose gold column holds label names.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from headway.data.findings import MAX_EXAMPLES, Finding, SplitView, list_names

MAX_IMBALANCE = 10

_FLOAT_LABEL = re.compile(r"[+-]?\d+\.0+")


def check_labels(train: SplitView, others: Sequence[SplitView], *, listed: Sequence[str] = ()) -> Iterator[Finding]:
    """Check the labels of train, and those of the other splits against them and those that the recipe lists."""
    first = _first_rows(train)
    counts = Counter(label for held in train.labels for label in held)
    allowed = 0 if train.problem_type == "multi_label_classification" else 1
    if len(counts) <= allowed and train.texts:
        found = f"one label only, {next(iter(counts))!r}" if counts else "no label at all"
        mend = "Name the right column in data.columns, or add rows of the other labels."
        yield Finding("single_class", train.name, len(train.texts), f"train holds {found}.", mend)
    rare = [label for label, count in counts.items() if count == 1]
    yield from train.finding(
        "rare_label",
        [first[label] for label in rare],
        "Labels of train with one row only",
        "Add rows, or join the labels with others.",
        values=rare,
    )
    if counts:
        (largest, most), (smallest, least) = counts.most_common()[0], counts.most_common()[-1]
        small = [label for label, count in counts.items() if count * MAX_IMBALANCE < most]
        yield from train.finding(
            "imbalance",
            [first[label] for label in small],
            f"Labels with less than a tenth of the rows of {largest!r} ({most:,}), down to {smallest!r} ({least:,})",
            "Watch f1_macro rather than accuracy; class weights (balanced) or more rows help.",
            values=small,
        )
    yield from _check_label_spelling([train, *others])
    for other in others:
        held = _first_rows(other)
        for name, what, mend, labels in (
            (
                "label_not_in_train",
                "that train lacks",
                "Correct the labels, move rows of them into train, or list them in task.labels.",
                [label for label in held if label not in counts and label not in listed],
            ),
            (
                "label_not_learnt",
                "that task.labels lists, but of which train has no row",
                "Add rows of them to train; as it is, the model never learns to give them.",
                [label for label in held if label not in counts and label in listed],
            ),
        ):
            rows = [row for row, of_row in enumerate(other.labels) if set(labels) & set(of_row)]
            yield from other.finding(
                name,
                rows,
                f"Rows of {other.name} with labels {what} ({list_names(labels)})",
                mend,
                values=[", ".join(other.labels[row]) for row in rows],
            )
        absent = [label for label in counts if label not in held]
        yield from train.finding(
            "label_not_in_split",
            [first[label] for label in absent] if other.texts else [],
            f"Labels of train that do not occur in {other.name}",
            f"Add rows of them to {other.name}; as it is, its scores say nothing of these labels.",
            values=absent,
        )


def _check_label_spelling(views: Sequence[SplitView]) -> Iterator[Finding]:
    """Check for labels that are one label written in several ways."""
    places: dict[str, dict[str, str]] = {}
    for view in views:
        for label, row in _first_rows(view).items():
            places.setdefault(label, view.example(row, _spell(label)))
    groups = defaultdict(list)
    for label in places:
        groups[" ".join(unicodedata.normalize("NFKC", label).casefold().split())].append(label)
    names = ", ".join(view.name for view in views)
    spelling = "Labels that differ from another only in case, blanks or Unicode form, yet are learnt as different"
    variants = [label for group in groups.values() if len(group) > 1 for label in group]
    floats = [label for label in places if _FLOAT_LABEL.fullmatch(label)]
    for name, labels, what, mend in (
        ("label_variants", variants, spelling, "Write each label in one way, unless they are meant to differ."),
        (
            "float_label",
            floats,
            "Labels that are whole numbers written as fractions",
            "A spreadsheet or pandas may have done this; write 1 for 1.0, or choose a regression task.",
        ),
    ):
        if labels:
            message = f"{what}: {len(labels):,} ({list_names([_spell(label) for label in labels])})."
            yield Finding(name, names, len(labels), message, mend, [places[label] for label in labels[:MAX_EXAMPLES]])


def _spell(label: str) -> str:
    """Return the label in quotes, so that blanks show; a form that looks like another one is written in escapes."""
    return repr(label) if unicodedata.is_normalized("NFKC", label) else ascii(label)


def _first_rows(view: SplitView) -> dict[str, int]:
    """Return the first row of each label."""
    first: dict[str, int] = {}
    for row, held in enumerate(view.labels):
        for label in held:
            first.setdefault(label, row)
    return first
