"""Fit a tokenised text, or pair of texts, into the length a model takes: cut it and count the loss, or lay windows.

Works on the finished encoding, special tokens included, so it needs to know nothing of the model family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import BatchEncoding, PreTrainedTokenizerBase

from headway.types import Features

# A text longer than this is cut before it is tokenised, or tokenised in parts if nothing is to be lost: a single
# "word" of 10 MB takes seconds otherwise.
MAX_CHARACTERS = 400_000

CUTS = ("head", "tail", "head+tail")
"""The strategies that keep a part of a longer text."""


def text_features(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    text_pair: str | None,
    *,
    max_length: int,
    truncation: str,
    doc_stride: int = 0,
    max_windows: int | None = None,
) -> Features:
    """Return a text or a pair as features without targets, by any strategy; called with ``**limits.arguments``.

    `window` lays windows of ``max_length`` tokens over the text, each with the tokenizer's special tokens, one piece
    of the features each. Neighbours share ``doc_stride`` tokens (at most half of the room for the text); the last one
    reaches further back, so that it is as full as the others. Of a pair, the longer text is windowed and the other
    one repeated in every window; where the two do not fit together, the shorter keeps its beginning, up to half of
    the room. What that leaves out, and what stands behind ``max_windows`` windows, counts as ``tokens_lost``.

    ``extra`` holds ``tokens_lost``; under `window` also ``num_windows`` and ``tokens_repeated``: the tokens that are
    read more than once.
    """
    if truncation != "window":
        inputs, lost = encode_text(tokenizer, text, text_pair, max_length=max_length, truncation=truncation)
        return Features(inputs, {}, {"tokens_lost": lost})
    frame = _Frame.of(tokenizer, [one for one in (text, text_pair) if one is not None])
    room = max(max_length - frame.num_special, 0)
    tokens = frame.tokens
    longer = max(range(len(tokens)), key=lambda number: len(tokens[number]))
    kept = list(tokens)
    if sum(map(len, tokens)) > room:
        kept = [some if number == longer else some[: room // 2] for number, some in enumerate(tokens)]
    width = room - sum(len(some) for number, some in enumerate(kept) if number != longer)
    starts = window_starts(len(kept[longer]), width=width, overlap=min(doc_stride, width // 2))[:max_windows]
    windows = [
        frame.filled([*kept[:longer], kept[longer][start : start + width], *kept[longer + 1 :]]) for start in starts
    ]
    # Of the longer text nothing is missing but what stands behind the last window.
    kept[longer] = kept[longer][: starts[-1] + width]
    lost = sum(map(len, tokens)) - sum(map(len, kept))
    repeated = sum(len(window["input_ids"]) for window in windows) + lost - frame.num_special - sum(map(len, tokens))
    return Features.of_pieces(
        windows, {}, {"tokens_lost": lost, "tokens_repeated": repeated, "num_windows": len(windows)}
    )


def encode_text(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    text_pair: str | None,
    *,
    max_length: int,
    truncation: str,
    doc_stride: int = 0,
    max_windows: int | None = None,
    pair_prefix: str = "",
) -> tuple[dict[str, list[int]], int]:
    """Return the model inputs of a text or a pair that is cut, and the number of tokens left out.

    Of a pair the longer text loses tokens first, until both are equal (`longest_first` of transformers). Where the
    tokens are taken from is ``truncation``: `head` keeps the beginning, `tail` the end, `head+tail` both (Sun et al.
    2019, arXiv:1905.05583, found the last best for long reviews). What concerns windows is taken and not used, so
    that ``**limits.arguments`` fits; for windows see `text_features`.

    ``pair_prefix`` (a question) is read right before ``text_pair`` (its answer), but counts as a text of its own when
    tokens are taken away, so that however long it is, it never takes the place of what follows it.
    """
    if truncation not in CUTS:
        raise ValueError(f"expected one of {', '.join(CUTS)}, found {truncation!r}; text_features makes windows")
    texts = [one for one in (text, text_pair) if one is not None]
    cut_texts = [_cut(one, truncation) for one in texts]
    if pair_prefix:
        cut_prefix = _cut(pair_prefix, truncation)
        texts[-1], cut_texts[-1] = pair_prefix + texts[-1], cut_prefix + cut_texts[-1]
    encoding = tokenizer(*cut_texts, truncation=False, verbose=False)
    num_tokens = len(encoding["input_ids"])
    characters_seen = sum(map(len, cut_texts))
    # What was never tokenised is estimated by the tokens of the rest.
    lost = round((sum(map(len, texts)) - characters_seen) * num_tokens / max(characters_seen, 1))
    inputs: dict[str, list[int]] = dict(encoding)
    excess = num_tokens - max_length
    if excess > 0:
        sequence_ids = _sequence_ids(encoding)
        parts = [[i for i, one in enumerate(sequence_ids) if one == number] for number in (0, 1)]
        if pair_prefix:
            # A token may begin at the blank before it, so its end tells where it belongs.
            split = sum(encoding.token_to_chars(i).end <= len(cut_prefix) for i in parts[1])
            parts = [parts[1][split:], parts[0], parts[1][:split]]
        dropped = drop_tokens(parts, excess, truncation)
        inputs = {name: [one for i, one in enumerate(values) if i not in dropped] for name, values in inputs.items()}
        lost += len(dropped)
    return inputs, lost


def _cut(text: str, truncation: str) -> str:
    """Return the part of an immense text from which the kept tokens can come."""
    if len(text) <= MAX_CHARACTERS:
        return text
    match truncation:
        case "head":
            return text[:MAX_CHARACTERS]
        case "tail":
            return text[-MAX_CHARACTERS:]
        case _:
            return text[: MAX_CHARACTERS // 2] + text[-MAX_CHARACTERS // 2 :]


def _sequence_ids(encoding: BatchEncoding) -> Sequence[Any]:
    """Return for each token the number of the text it came from, or None for a special token."""
    numbers: Sequence[Any] = encoding.sequence_ids(0)
    return numbers


def drop_tokens(parts: Sequence[Sequence[int]], excess: int, truncation: str) -> set[int]:
    """Return the positions of the ``excess`` tokens to leave out; the longest part loses first, of equal ones the last.

    Args:
        parts: the positions of the tokens of each part.
        excess: how many to leave out.
        truncation: which end of a part is kept, one of `CUTS`.
    """
    kept = [len(some) for some in parts]
    for _ in range(excess):
        kept[max(range(len(kept)), key=lambda number: (kept[number], number))] -= 1
    dropped: set[int] = set()
    for some, keep in zip(parts, kept, strict=True):
        keep = max(keep, 0)
        match truncation:
            case "head":
                dropped.update(some[keep:])
            case "tail":
                dropped.update(some[: len(some) - keep])
            case _:
                dropped.update(some[(keep + 1) // 2 : len(some) - keep // 2])
    return dropped


# --- windows ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Frame:
    """The special tokens of an encoding, and the tokens of its texts apart from them."""

    inputs: dict[str, list[int]]
    """The encoding of the beginning of the texts, from which every window takes its form."""
    sequence_ids: Sequence[Any]
    tokens: list[list[int]]
    """Ids of all tokens of each text."""

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> _Frame:
        parts = [text_parts(tokenizer, text) for text in texts]
        encoding = tokenizer(*(some[0] for some in parts), truncation=False, verbose=False)
        inputs: dict[str, list[int]] = dict(encoding)
        sequence_ids = _sequence_ids(encoding)
        tokens = []
        for number, some in enumerate(parts):
            ids = [one for one, of in zip(inputs["input_ids"], sequence_ids, strict=True) if of == number]
            for part in some[1:]:
                ids += tokenizer(part, truncation=False, verbose=False, add_special_tokens=False)["input_ids"]
            tokens.append(ids)
        return cls(inputs, sequence_ids, tokens)

    @property
    def num_special(self) -> int:
        return sum(one is None for one in self.sequence_ids)

    def filled(self, tokens: Sequence[Sequence[int]]) -> dict[str, list[int]]:
        """Return the inputs of one window: the special tokens around the given tokens of each text."""
        window: dict[str, list[int]] = {name: [] for name in self.inputs}
        for position, number in enumerate(self.sequence_ids):
            if number is not None and position and self.sequence_ids[position - 1] == number:
                continue
            for name, values in self.inputs.items():
                if number is None:
                    window[name].append(values[position])
                elif name == "input_ids":
                    window[name] += tokens[number]
                else:
                    # Types and masks are the same for all tokens of one text.
                    window[name] += [values[position]] * len(tokens[number])
        return window


def text_parts(tokenizer: PreTrainedTokenizerBase, text: str) -> list[str]:
    """Return an immense text in parts that are tokenised one after another, parted at blanks where there are any."""
    if len(text) <= MAX_CHARACTERS:
        return [text]
    parts, start = [], 0
    while len(text) - start > MAX_CHARACTERS:
        end = start + MAX_CHARACTERS
        blank = max(text.rfind(" ", start, end), text.rfind("\n", start, end))
        parts.append(text[start : (end := blank if blank > start else end)])
        start = end
    # Parts without a token (blanks) have no place in the frame, and need none.
    held = [part for part in (*parts, text[start:]) if tokenizer.tokenize(part)]
    return held or [""]


def window_starts(num_tokens: int, *, width: int, overlap: int) -> list[int]:
    """Return where the windows of a text begin."""
    if num_tokens <= width or not width:
        return [0]
    return [*range(0, num_tokens - width, width - overlap), num_tokens - width]
