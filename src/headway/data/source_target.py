"""A text and the text that should be made of it as tokens: cut to their lengths, or the source laid over windows.

Serves every family of encoder-decoder models, those whose tokenizer is written in Python, too: the special tokens are
found by looking at what the tokenizer itself puts around a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from headway.data.truncation import drop_tokens, text_parts, window_starts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROBE = "a"
"""A word that every tokenizer makes tokens of."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The special tokens before and behind a text."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, *, is_target: bool = False) -> Frame:
        """Return what ``tokenizer`` puts around a source, or around a target."""
        whole = _ids(tokenizer, _PROBE, is_target=is_target, add_special_tokens=True)
        bare = _ids(tokenizer, _PROBE, is_target=is_target)
        for start in range(len(whole) - len(bare) + 1):
            if whole[start : start + len(bare)] == bare:
                return cls(tuple(whole[:start]), tuple(whole[start + len(bare) :]))
        return cls((), ())

    def around(self, tokens: Sequence[int]) -> list[int]:
        """Return the ids of a text with the special tokens around it."""
        return [*self.before, *tokens, *self.after]

    def room(self, max_length: int) -> int:
        """Return how many tokens of a text fit between them."""
        return max(max_length - len(self.before) - len(self.after), 0)


@dataclass(frozen=True, slots=True)
class Encoded:
    """The ids of a source, of each of its windows, and what is missing or read twice."""

    windows: list[list[int]]
    tokens_lost: int
    tokens_repeated: list[int]
    """Of each window, the tokens that an earlier one holds, too, special tokens included."""


def encode_source(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    *,
    prefix: str = "",
    max_length: int,
    truncation: str,
    doc_stride: int = 0,
    max_windows: int | None = None,
) -> Encoded:
    """Return the model inputs of a source; called with ``**limits.arguments``.

    Args:
        tokenizer: of the model.
        text: the source.
        prefix: words before every source (``"summarize: "``), which are never cut and open every window.
        max_length: tokens that the model reads at once, prefix and special tokens included.
        truncation: which part is kept of a longer source, or `window`: all of it, in windows.
        doc_stride: tokens that neighbouring windows share, at most half of the room for the text.
        max_windows: windows that are read; what stands behind them is lost.
    """
    frame = Frame.of(tokenizer)
    opening = _ids(tokenizer, prefix) if prefix.strip() else []
    first, *others = text_parts(tokenizer, text)
    tokens = _ids(tokenizer, prefix + first)
    for part in others:
        tokens += _ids(tokenizer, part)
    # Some tokenizers join the prefix's last letters with the text's first ones; then it counts as part of the text.
    opening = opening if tokens[: len(opening)] == opening else []
    tokens = tokens[len(opening) :]
    frame = Frame((*frame.before, *opening), frame.after)
    room = frame.room(max_length)
    if truncation == "window":
        starts = window_starts(len(tokens), width=room, overlap=min(doc_stride, room // 2))[:max_windows]
        parts = [tokens[start : start + room] for start in starts]
        ends = [0, *(start + len(part) for start, part in zip(starts, parts, strict=True))]
        repeated = [end - start for start, end in zip(starts, ends[:-1], strict=True)]
        # Of the text nothing is missing but what stands behind the last window.
        around = len(frame.before) + len(frame.after)
        repeated = [repeated[0], *(number + around for number in repeated[1:])]
        return Encoded([frame.around(part) for part in parts], len(tokens) - ends[-1], repeated)
    dropped = drop_tokens([range(len(tokens))], max(len(tokens) - room, 0), truncation)
    kept = [one for place, one in enumerate(tokens) if place not in dropped]
    return Encoded([frame.around(kept)], len(dropped), [0])


def encode_turns(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[str], *, separator: str, max_length: int
) -> Encoded:
    """Return the model inputs of the turns of a dialogue; the oldest turns are left out first, and counted.

    Of a last turn that is itself too long its end is kept.
    """
    frame = Frame.of(tokenizer)
    room = frame.room(max_length)
    lost, tokens = 0, _ids(tokenizer, separator.join(turns))
    while len(tokens) > room and len(turns) > 1:
        turns = turns[1:]
        fewer = _ids(tokenizer, separator.join(turns))
        lost += len(tokens) - len(fewer)
        tokens = fewer
    excess = max(len(tokens) - room, 0)
    return Encoded([frame.around(tokens[excess:])], lost + excess, [0])


def encode_target(tokenizer: PreTrainedTokenizerBase, text: str, *, max_target_length: int) -> tuple[list[int], int]:
    """Return the ids to be written, special tokens included, and the number of tokens left out at the end."""
    frame = Frame.of(tokenizer, is_target=True)
    tokens = _ids(tokenizer, text, is_target=True)
    room = frame.room(max_target_length)
    return frame.around(tokens[:room]), max(len(tokens) - room, 0)


def nearest_windows(windows: Sequence[Sequence[int]], sentences: Sequence[Sequence[int]]) -> list[int]:
    """Return, for each sentence of a target, the window of the source that it was most likely made of.

    That is the one with the largest share of the sentence's tokens, of equal ones the first: each window then learns
    to say what it holds, and says nothing of the others (Gidiotis and Tsoumakas 2020, "A Divide-and-Conquer Approach
    to the Summarization of Long Documents", arXiv:2004.06190, with ROUGE-L in place of the share).

    Args:
        windows: ids of each window.
        sentences: ids of each sentence.
    """
    held = [set(window) for window in windows]
    shares = [[np.mean([one in window for one in sentence or (-1,)]) for window in held] for sentence in sentences]
    return [int(np.argmax(some)) for some in shares]


def _ids(
    tokenizer: PreTrainedTokenizerBase, text: str, *, is_target: bool = False, add_special_tokens: bool = False
) -> list[int]:
    given: dict[str, Any] = {"text_target": text} if is_target else {"text": text}
    encoding = tokenizer(**given, add_special_tokens=add_special_tokens, truncation=False, verbose=False)
    ids: list[int] = list(encoding["input_ids"])
    return ids


def target_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the ids of a part of a target, without special tokens."""
    return _ids(tokenizer, text, is_target=True)
