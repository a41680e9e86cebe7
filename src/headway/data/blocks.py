"""A text of any length as blocks that a model can read one by one: nothing is cut off, and nothing is read twice.

Blank lines part the documents of a text; between two of them stands the tokenizer's separator, as in RoBERTa's
FULL-SENTENCES (Liu et al. 2019, arXiv:1907.11692), so short documents fill a block together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedTokenizerBase

from headway.data.truncation import drop_tokens
from headway.errors import RecipeError
from headway.types import Features

SEPARATOR = "\n\n"
"""What stands between two documents in one text."""

MAX_CHARACTERS = 50_000
"""A longer document is tokenised in parts, cut at a blank: tokenizers need far more memory than the text itself."""

NO_WORD = -1
_BLANK_LINES = re.compile(r"\s*\n\s*\n\s*")
_BLANK = re.compile(r"\s")


def blocks_of(
    text: str, tokenizer: PreTrainedTokenizerBase, *, max_length: int, keep_words: bool = False
) -> list[Features]:
    """Return the text as blocks of at most ``max_length`` tokens, special tokens included; at least one.

    Args:
        text: one document, or several with blank lines between.
        tokenizer: of the model.
        max_length: of a block.
        keep_words: note in ``extra["words"]`` the number of each token's word, -1 for special tokens.

    Raises:
        RecipeError: ``max_length`` leaves no room beside the special tokens.
    """
    frame = tokenizer("a", return_special_tokens_mask=True, verbose=False)
    is_special = list(frame["special_tokens_mask"])
    start, end = is_special.index(0), len(is_special) - is_special[::-1].index(0)
    prefix, suffix = list(frame["input_ids"][:start]), list(frame["input_ids"][end:])
    room = max_length - len(prefix) - len(suffix)
    if room < 1:
        raise RecipeError(f"data.max_length is {max_length}, but the model's special tokens alone are that many.")
    ids, words = _tokens(text, tokenizer)
    bounds = [_within(ids, first, min(first + room, len(ids)), tokenizer) for first in range(0, len(ids), room)]
    blocks = []
    # A text without tokens is one empty block, so that every row has its answer.
    for first, last in [bound for bound in bounds if bound[0] < bound[1]] or [(0, 0)]:
        inputs = {"input_ids": [*prefix, *ids[first:last], *suffix]}
        size = len(inputs["input_ids"])
        if "token_type_ids" in frame:
            inputs["token_type_ids"] = [frame["token_type_ids"][start]] * size
        if "attention_mask" in frame:
            inputs["attention_mask"] = [1] * size
        around = [NO_WORD] * len(prefix), [NO_WORD] * len(suffix)
        extra = {"words": [*around[0], *words[first:last], *around[1]]} if keep_words else {}
        blocks.append(Features(inputs, {}, extra))
    return blocks


def pair_of(
    text: str,
    text_pair: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    truncation: str,
    keep_words: bool = False,
) -> Features:
    """Return two texts as one input, and in ``extra`` the tokens it had to lose and, as in `blocks_of`, its words."""
    encoding = tokenizer(text, text_pair, truncation=False, verbose=False)
    sides = encoding.sequence_ids(0)
    parts = [[place for place, one in enumerate(sides) if one == number] for number in (0, 1)]
    excess = len(sides) - max_length
    dropped = drop_tokens(parts, excess, truncation) if excess > 0 else set()
    extra: dict[str, Any] = {"tokens_lost": len(dropped)}
    if keep_words:
        numbers = encoding.word_ids(0)
        # Both texts count their words from 0.
        second = 1 + max((numbers[place] for place in parts[0]), default=NO_WORD)
        words = [
            NO_WORD if one is None else one + (side or 0) * second for one, side in zip(numbers, sides, strict=True)
        ]
        extra["words"] = [one for place, one in enumerate(words) if place not in dropped]
    inputs = {
        name: [one for place, one in enumerate(values) if place not in dropped] for name, values in encoding.items()
    }
    return Features(inputs, {}, extra)


def _within(ids: list[int], first: int, last: int, tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """Return the bounds of a block without separators at its edges, where they part nothing."""
    while first < last and ids[first] == tokenizer.sep_token_id:
        first += 1
    while first < last and ids[last - 1] == tokenizer.sep_token_id:
        last -= 1
    return first, last


def _tokens(text: str, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the ids of a text without special tokens, but for separators between documents, and their words."""
    ids: list[int] = []
    words: list[int] = []
    separator = tokenizer.sep_token_id
    next_word = 0
    for document in _BLANK_LINES.split(text.strip()):
        if ids and separator is not None:
            ids.append(separator)
            words.append(NO_WORD)
        for part in _parts(document):
            encoding = tokenizer(part, add_special_tokens=False, verbose=False)
            ids += encoding["input_ids"]
            found = [NO_WORD if one is None else next_word + one for one in encoding.word_ids(0)]
            words += found
            next_word = max(next_word, max(found, default=NO_WORD) + 1)
    return ids, words


def _parts(document: str) -> Iterator[str]:
    """Yield a document in parts that are cut before a blank, where there is one."""
    start = 0
    while len(document) - start > MAX_CHARACTERS:
        blank = _BLANK.search(document, start + MAX_CHARACTERS, start + 2 * MAX_CHARACTERS)
        cut = min(start + 2 * MAX_CHARACTERS, len(document)) if blank is None else blank.start()
        yield document[start:cut]
        start = cut
    yield document[start:]
