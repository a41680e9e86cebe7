"""Words become tokens in windows that fit the model, each word answered for where it has the most context."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from headway.data.truncation import window_starts

MAX_WORD = 1000
"""Characters of a word that are tokenised; a longer one is an encoded file or a lost line end, and one tag is all."""
CHARACTERS_AT_ONCE = 200_000


@dataclass(frozen=True, slots=True)
class WordWindow:
    """One input of the model, and the words whose tags are read from it."""

    inputs: dict[str, list[int]]
    words: list[int]
    """Numbers of the words that this window answers for, in their order."""
    positions: list[int]
    """Where the first token of each of them stands in the inputs."""
    tokens_lost: int
    """Tokens (of the whole row, named by its first window) that no window reads, and words that give no token."""
    tokens_repeated: int
    """Tokens that another window reads as well."""


def word_windows(
    tokenizer: PreTrainedTokenizerBase,
    words: Sequence[str],
    *,
    max_length: int,
    doc_stride: int,
    max_windows: int | None = None,
) -> list[WordWindow]:
    """Return the windows over a sentence or document; every word with a token belongs to exactly one of them.

    A word stands for its first token. It belongs to the window in which that has the most tokens to its nearer side,
    where the text's own beginning and end count as no limit (the maximal context of Devlin et al. 2019); of equal
    windows, the first. Neighbours share ``doc_stride`` tokens, at most half a window; the last one reaches further
    back, so that it is as full as the others.

    The words are read joined by single blanks. A word of which the tokenizer makes nothing (a control character)
    belongs to no window, like one behind ``max_windows`` windows; both count as ``tokens_lost``.
    """
    cut = [word[:MAX_WORD] for word in words]
    frame, ids, owners = _tokenise(tokenizer, cut)
    firsts = _firsts(owners)
    width = max(max_length - frame.num_special, 1)
    starts = window_starts(len(ids), width=width, overlap=min(doc_stride, width // 2))[:max_windows]
    seen = min(starts[-1] + width, len(ids))
    held = {word: position for word, position in firsts.items() if position < seen}
    positions = np.fromiter(held.values(), dtype=np.int64, count=len(held))
    own: list[list[tuple[int, int]]] = [[] for _ in starts]
    for item, window in zip(
        held.items(), _best_windows(positions, starts, width=width, num_tokens=len(ids)).tolist(), strict=True
    ):
        own[window].append(item)
    lost = len(ids) - seen + len(words) - len(firsts) + _tokens_cut(words, cut, len(ids))
    windows = []
    for number, start in enumerate(starts):
        end = min(start + width, seen)
        repeated = frame.num_special + min(starts[number - 1] + width, seen) - start if number else 0
        windows.append(
            WordWindow(
                frame.filled(ids[start:end]),
                [word for word, _ in own[number]],
                [position - start + frame.num_before for _, position in own[number]],
                lost if number == 0 else 0,
                repeated,
            )
        )
    return windows


@dataclass(frozen=True, slots=True)
class _Frame:
    """The special tokens before and behind a text, and what the other inputs hold there and between."""

    inputs: dict[str, list[int]]
    num_before: int
    num_behind: int

    @property
    def num_special(self) -> int:
        return self.num_before + self.num_behind

    def filled(self, ids: Sequence[int]) -> dict[str, list[int]]:
        """Return the inputs with these tokens between the special ones."""
        filled = {}
        for name, values in self.inputs.items():
            before, behind = values[: self.num_before], values[len(values) - self.num_behind :]
            # Types and masks are the same for all tokens of a text.
            between = list(ids) if name == "input_ids" else [values[self.num_before]] * len(ids) if ids else []
            filled[name] = [*before, *between, *behind]
        return filled


def _tokenise(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> tuple[_Frame, list[int], list[int]]:
    """Return the special tokens, the ids of all tokens of the words, and the word of each token (-1: none)."""
    ids: list[int] = []
    owners: list[int] = []
    frame: _Frame | None = None
    for first, part in _parts(words):
        encoding = tokenizer(" ".join(part), return_offsets_mapping=True, truncation=False, verbose=False)
        numbers = encoding.sequence_ids(0)
        inputs = {name: list(values) for name, values in encoding.items() if name != "offset_mapping"}
        held = [place for place, number in enumerate(numbers) if number is not None]
        if frame is None or (held and len(frame.inputs["input_ids"]) == frame.num_special):
            begin, end = (held[0], held[-1] + 1) if held else (_num_before(tokenizer), len(numbers))
            num_behind = len(numbers) - end if held else len(numbers) - begin
            frame = _Frame(inputs, begin, num_behind)
        ids += [inputs["input_ids"][place] for place in held]
        owners += _owners([encoding["offset_mapping"][place] for place in held], part, first)
    if frame is None:
        raise ValueError("expected at least one part of the words, found none")
    return frame, ids, owners


def _num_before(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the number of special tokens before a text, where the text itself gave no token to tell."""
    numbers = tokenizer("a").sequence_ids(0)
    return next((place for place, number in enumerate(numbers) if number is not None), len(numbers))


def _parts(words: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the words in parts of bounded length, each with the number of its first word; at least one part."""
    part: list[str] = []
    first = characters = 0
    for number, word in enumerate(words):
        if characters + len(word) > CHARACTERS_AT_ONCE and part:
            yield first, part
            part, first, characters = [], number, 0
        part.append(word)
        characters += len(word) + 1
    yield first, part


def _owners(offsets: Sequence[tuple[int, int]], words: Sequence[str], first: int) -> list[int]:
    """Return the word that each token belongs to; a token may begin at the blank before its word."""
    starts, place = [], 0
    for word in words:
        starts.append(place)
        place += len(word) + 1
    owners = []
    for start, end in offsets:
        number = max(bisect_right(starts, start) - 1, 0)
        while number < len(words) and (not words[number] or starts[number] + len(words[number]) <= start):
            number += 1
        is_in = end > start and number < len(words) and starts[number] < end
        owners.append(first + number if is_in else -1)
    return owners


def _firsts(owners: Sequence[int]) -> dict[int, int]:
    """Return the position of each word's first token, in order of position."""
    firsts: dict[int, int] = {}
    for position, word in enumerate(owners):
        if word >= 0:
            firsts.setdefault(word, position)
    return firsts


def _best_windows(positions: np.ndarray, starts: Sequence[int], *, width: int, num_tokens: int) -> np.ndarray:
    """Return the number of the window in which each position, of which each lies in one, has the most context."""
    best = np.zeros(len(positions), dtype=np.int64)
    most = np.full(len(positions), -1.0)
    for number, start in enumerate(starts):
        end = start + width
        held = slice(*np.searchsorted(positions, [start, end]).tolist())  # positions ascend
        inside = positions[held]
        left = inside - start if start > 0 else np.full(len(inside), np.inf)
        right = end - 1 - inside if end < num_tokens else np.full(len(inside), np.inf)
        context = np.minimum(left, right)
        better = context > most[held]
        best[held] = np.where(better, number, best[held])
        most[held] = np.maximum(context, most[held])
    return best


def _tokens_cut(words: Sequence[str], cut: Sequence[str], num_tokens: int) -> int:
    """Return how many tokens the characters that were never tokenised would give, by the measure of the others."""
    unread = sum(map(len, words)) - sum(map(len, cut))
    return round(unread * num_tokens / max(sum(map(len, cut)), 1))
