"""From documents to the rows of core training: short ones joined, or pairs of sentences that follow, or do not."""

from __future__ import annotations

import numpy as np

from headway.data.blocks import SEPARATOR
from headway.data.table import Table
from headway.errors import DataError
from headway.segmentation import sentences_of

IS_NEXT, IS_RANDOM = "0", "1"
"""The labels of a pair, in transformers' order: its head's first output says that the second text is the next."""

MAX_DRAWS = 50


def joined(table: Table, *, num_characters: int) -> Table:
    """Return rows of several documents each: neighbours are joined until they hold ``num_characters``.

    A row keeps the place of its first document. Documents without text are left out.

    Raises:
        DataError: no document holds text.
    """
    firsts: list[int] = []
    rows: list[list[str]] = []
    room = 0
    for number, row in enumerate(table):
        text = row["text"].strip()
        if not text:
            continue
        if not rows or len(text) > room:
            firsts.append(number)
            rows.append([])
            room = num_characters
        rows[-1].append(text)
        room -= len(text) + len(SEPARATOR)
    if not rows:
        raise DataError(f"{table.name}: no row holds text to learn from.")
    return table.select(firsts).with_columns({"text": [SEPARATOR.join(texts) for texts in rows]})


def sentence_pairs(table: Table, *, seed: int) -> Table:
    """Return a pair for each two sentences in sequence: in half of them the second is another, drawn at random.

    That one comes from another document, if there is one, and is never the true next sentence, nor any of equal text
    to it or to the first (Devlin et al. 2019, arXiv:1810.04805, section 3.1, without their small share of true ones
    among the random). A document of one sentence has no next one; it serves as a random second only, and a warning
    counts such documents.

    Returns:
        Columns ``text``, ``text_pair`` and ``label``; a pair keeps the place of its document.

    Raises:
        DataError: no document holds two sentences, or all sentences are alike.
    """
    sentences: list[str] = []
    documents: list[int] = []
    alone = 0
    for number, row in enumerate(table):
        found = sentences_of(row["text"])
        sentences += found
        documents += [number] * len(found)
        alone += len(found) == 1
    document = np.asarray(documents, dtype=np.int64)
    firsts = np.flatnonzero(document[1:] == document[:-1])
    if not len(firsts):
        raise DataError(
            f"{table.name}: no document holds two sentences, so none has a next one. Set data.document: paragraph or "
            "file, or task.next_sentence: false."
        )
    rng = np.random.default_rng([seed, len(firsts)])
    is_next = rng.permutation(len(firsts)) % 2 == 0
    seconds = [
        first + 1 if follows else _another(first, sentences, document, rng, table.name)
        for first, follows in zip(firsts.tolist(), is_next, strict=True)
    ]
    pairs = table.select(document[firsts]).with_columns({
        "text": [sentences[first] for first in firsts],
        "text_pair": [sentences[second] for second in seconds],
        "label": [IS_NEXT if follows else IS_RANDOM for follows in is_next],
    })  # fmt: skip
    if alone:
        remark = (
            f"{table.name}: {alone:,} of {len(table):,} documents hold one sentence only: they have no next one, and "
            "serve as wrong second sentences."
        )
        pairs.warnings = (*pairs.warnings, remark)
    return pairs


def _another(first: int, sentences: list[str], document: np.ndarray, rng: np.random.Generator, name: str) -> int:
    """Return the number of a sentence that may stand as a wrong second one."""
    wrong = {_folded(sentences[first]), _folded(sentences[first + 1])}
    begin, end = np.searchsorted(document, [document[first], document[first] + 1]).tolist()
    others = len(sentences) - (end - begin)
    for _ in range(MAX_DRAWS):
        drawn = int(rng.integers(others or len(sentences)))
        # Numbers are dealt out over all sentences that are not of this document.
        number = drawn if not others or drawn < begin else drawn + end - begin
        if _folded(sentences[number]) not in wrong:
            return number
    # Nearly all others are alike, or there are none: any sentence that differs will do.
    different = [number for number, one in enumerate(sentences) if _folded(one) not in wrong]
    if not different:
        raise DataError(
            f"{name}: there is no sentence that could stand as a wrong second one beside {sentences[first]!r:.80}; "
            "all are alike. Bring more text, or set task.next_sentence: false."
        )
    return int(rng.choice(different))


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
