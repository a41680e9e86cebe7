"""Cut a tokenised text, or pair of texts, to the length a model takes, and count what is left out.

Works on the finished encoding, special tokens included, so it needs to know nothing of the model family.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import BatchEncoding, PreTrainedTokenizerBase

# A text longer than this is cut before it is tokenised: a single "word" of 10 MB takes seconds otherwise.
MAX_CHARACTERS = 400_000


def encode_text(
    tokenizer: PreTrainedTokenizerBase, text: str, text_pair: str | None, *, max_length: int, truncation: str
) -> tuple[dict[str, list[int]], int]:
    """Return the model inputs of a text or a pair, and the number of tokens left out.

    Of a pair the longer text loses tokens first, until both are equal (`longest_first` of transformers). Where the
    tokens are taken from is ``truncation``: `head` keeps the beginning, `tail` the end, `head+tail` both (Sun et al.
    2019, arXiv:1905.05583, found the last best for long reviews).
    """
    texts = [one for one in (text, text_pair) if one is not None]
    cut_texts = [_cut(one, truncation) for one in texts]
    encoding = tokenizer(*cut_texts, truncation=False, verbose=False)
    num_tokens = len(encoding["input_ids"])
    characters_seen = sum(map(len, cut_texts))
    # What was never tokenised is estimated by the tokens of the rest.
    lost = round((sum(map(len, texts)) - characters_seen) * num_tokens / max(characters_seen, 1))
    inputs: dict[str, list[int]] = {name: list(values) for name, values in encoding.items()}
    excess = num_tokens - max_length
    if excess > 0:
        dropped = _dropped(_sequence_ids(encoding), excess, truncation)
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


def _dropped(sequence_ids: Sequence[Any], excess: int, truncation: str) -> set[int]:
    """Return the positions of the ``excess`` tokens to leave out."""
    positions = [[i for i, one in enumerate(sequence_ids) if one == number] for number in (0, 1)]
    kept = [len(some) for some in positions]
    for _ in range(excess):
        kept[0 if kept[0] > kept[1] else 1] -= 1
    dropped: set[int] = set()
    for some, keep in zip(positions, kept, strict=True):
        keep = max(keep, 0)
        match truncation:
            case "head":
                dropped.update(some[keep:])
            case "tail":
                dropped.update(some[: len(some) - keep])
            case _:
                dropped.update(some[(keep + 1) // 2 : len(some) - keep // 2])
    return dropped
