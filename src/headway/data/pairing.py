"""Pairs to learn from, where the rows of a file are none: texts of one group, or the turns of a dialogue.

Called by the `prepare` of a task; the pairs stand at the places of the rows that they came from.
"""

from __future__ import annotations

import logging
from collections import defaultdict

import numpy as np

from headway.data.table import Table
from headway.errors import DataError

logger = logging.getLogger(__name__)


def pairs_of_groups(table: Table, seed: int) -> Table:
    """Return rows of ``query``, ``positive`` and ``group``: each text beside another one of its group, drawn by seed.

    A text that is alone in its group has no partner and is left out, with a warning that counts such rows.

    Raises:
        DataError: no group holds two different texts.
    """
    texts, groups = table.column("text"), table.column("group")
    members: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for text, group in zip(texts, groups, strict=True):
        members[group][text] = None
    lists = {group: list(held) for group, held in members.items()}
    rng = np.random.default_rng(seed)
    kept, positives = [], []
    for row, (text, group) in enumerate(zip(texts, groups, strict=True)):
        others = lists[group]
        if len(others) < 2:
            continue
        # One of the others: those behind the text itself move up by one place.
        place = int(rng.integers(len(others) - 1))
        other = others[place]
        positives.append(others[-1] if other == text else other)
        kept.append(row)
    if not kept:
        raise DataError(
            f"{table.name}: no two rows with different texts share a 'group', so there are no pairs to learn from. "
            "Check data.columns.group."
        )
    if alone := len(table) - len(kept):
        logger.warning("%s: %d rows are alone in their group and make no pair; they are left out.", table.name, alone)
    chosen = table.select(kept)
    return chosen.with_columns(
        {"query": [texts[row] for row in kept], "positive": positives, "group": [groups[row] for row in kept]}
    )


def pairs_of_turns(table: Table, separator: str, num_turns: int) -> Table:
    """Return rows of ``query`` and ``positive``: what was said, and the reply, for each turn but the first of a text.

    Args:
        table: one dialogue a row, in ``text``.
        separator: stands between two turns, and perhaps behind the last one.
        num_turns: turns before the reply that make the query, joined by a blank.

    Raises:
        DataError: no row holds two turns.
    """
    rows, before, replies = _turns(table, separator, num_turns)
    queries = [" ".join(turns) for turns in before]
    return table.select(rows).with_columns({"query": queries, "positive": replies})


def replies_of_turns(table: Table, separator: str, num_turns: int) -> Table:
    """Return rows of ``history`` (a line for each turn) and ``response``, for each turn but the first of a text.

    See `pairs_of_turns` for what it takes and raises.
    """
    rows, before, replies = _turns(table, separator, num_turns)
    histories = ["\n".join(" ".join(turn.split()) for turn in turns) for turns in before]
    return table.select(rows).with_columns({"history": histories, "response": [[reply] for reply in replies]})


def _turns(table: Table, separator: str, num_turns: int) -> tuple[list[int], list[list[str]], list[str]]:
    """Return, for each reply, the number of its row, the turns before it, and the reply."""
    rows, before, replies = [], [], []
    for row, text in enumerate(table.column("text")):
        turns = [turn for part in text.split(separator) if (turn := part.strip())]
        for number in range(1, len(turns)):
            rows.append(row)
            before.append(turns[max(0, number - num_turns) : number])
            replies.append(turns[number])
    if not rows:
        raise DataError(
            f"{table.name}: no text holds two turns with {separator!r} between them. Check task.turn_separator."
        )
    return rows, before, replies
