"""Holds rows out for validation: the same rows for the same table and seed, on any machine and in any version."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from headway.data.table import Table
from headway.errors import DataError


def split(
    table: Table, *, share: float, seed: int, stratify_by: str | None, group_by: Sequence[str] | None = None
) -> tuple[Table, Table]:
    """Return the rows to train on and the rows held out, both in the order of the file.

    Rows that are alike in ``group_by`` stay on one side, so that the split itself makes no leak. Which rows are held
    out is a function of the seed and the row numbers alone.

    Args:
        table: the rows to divide.
        share: part of the rows to hold out, between 0 and 1.
        seed: another seed holds out other rows.
        stratify_by: column of which each value gives up the same share; a value of one row stays in train. None, or
            a column of lists (several labels a row), takes rows from all alike.
        group_by: columns whose equal values belong together; every column but ``stratify_by`` and ``label`` if None.

    Raises:
        DataError: there are too few rows, or too few different ones, for this share.
    """
    if not 0 < share < 1:
        raise DataError(f"data.validation: a share lies between 0 and 1, not at {share}.")
    total = round(share * len(table))
    if total < 1 or total >= len(table):
        raise DataError(
            f"{table.name}: {share:.0%} of {len(table)} rows would be {total}, which leaves one side empty. Choose "
            "another share for data.validation, or name a file."
        )
    labels = _labels(table, stratify_by)
    groups = _groups(table, stratify_by, group_by)
    left = Counter(labels)
    wanted = _allocate(left, share=share, total=total)
    held_out: set[int] = set()
    for group in sorted(groups, key=lambda group: _rank(seed, group[0])):
        label = labels[group[0]]
        taken = Counter(labels[row] for row in group)
        # Every label keeps a row to train on, also where one text bears two labels.
        if len(group) <= wanted[label] and all(left[other] > count for other, count in taken.items()):
            held_out.update(group)
            wanted[label] -= len(group)
            left -= taken
    if not held_out:
        kept = ""
        if stratify_by is not None:
            num_labels = len(set(labels))
            kept = f", and each of the {num_labels} different values of {stratify_by!r} keeps one row for training"
            if num_labels > len(table) / 2:
                kept += " (if they are measurements, set task.problem_type: regression)"
        raise DataError(
            f"{table.name}: too few different rows to hold out {share:.0%} of {len(table)}: rows with equal text stay "
            f"together (there are {len(groups)} different texts){kept}. Look at data.columns, or name a file for "
            "data.validation."
        )
    train = [row for row in range(len(table)) if row not in held_out]
    return table.select(train), table.select(sorted(held_out))


def some_of_each(table: Table, column: str, *, most: int, seed: int) -> Table:
    """Return at most ``most`` rows of each value of a column, drawn by the seed, in the order of the file."""
    left: Counter[Hashable] = Counter()
    kept = []
    values = table.column(column)
    for row in sorted(range(len(table)), key=lambda row: _rank(seed, row)):
        if left[values[row]] < most:
            left[values[row]] += 1
            kept.append(row)
    return table.select(sorted(kept))


def _labels(table: Table, column: str | None) -> list[Hashable]:
    values = table.column(column) if column is not None else [None] * len(table)
    return [None] * len(table) if any(isinstance(value, list) for value in values) else values


def _groups(table: Table, stratify_by: str | None, group_by: Sequence[str] | None) -> list[list[int]]:
    """Return the rows of each group, in order."""
    if group_by is None:
        group_by = [name for name in table.column_names if name not in (stratify_by, "label")]
    columns = [table.column(name) for name in group_by if name in table.column_names]
    groups: dict[str, list[int]] = {}
    for row in range(len(table)):
        key = repr([column[row] for column in columns]) if columns else str(row)
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def _allocate(counts: Mapping[Hashable, int], *, share: float, total: int) -> dict[Hashable, int]:
    """Return how many rows each label gives up: its share rounded down, then the largest remainders."""
    wanted = {label: min(int(share * count), count - 1) for label, count in counts.items()}
    remainders = sorted(
        (label for label, count in counts.items() if wanted[label] < count - 1),
        key=lambda label: share * counts[label] - wanted[label],
        reverse=True,  # sorted() keeps the order of the file among equals
    )
    for label in remainders[: max(0, total - sum(wanted.values()))]:
        wanted[label] += 1
    return wanted


def _rank(seed: int, row: int) -> bytes:
    # A hash, because the generators of numpy and Python may draw otherwise in another version.
    return hashlib.sha256(f"{seed}/{row}".encode()).digest()
