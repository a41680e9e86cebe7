"""A question and its context as overlapping windows for the model, with the characters behind each token.

Used by question answering. The context is tokenised once and windows are slices of it, so time and memory grow with
the length of the document and not with the number of its windows.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from headway.data.truncation import window_starts
from headway.errors import ModelError, RecipeError


@dataclass(frozen=True, slots=True)
class Window:
    """One model input: the whole question and the tokens ``begin`` to ``end`` (exclusive) of the context."""

    inputs: dict[str, list[int]]
    first: int
    """Position of the first token of the context."""
    begin: int
    end: int
    cls: int
    """Position of the token that stands for "no answer here"."""
    num_repeated: int
    """Tokens that an earlier window holds too."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A question and its context in tokens."""

    windows: list[Window]
    starts: list[int]
    """Character of the context at which each of its tokens begins."""
    ends: list[int]
    """Character behind the last one of each token."""
    tokens_lost: int
    """Tokens of the question that were left out."""

    def tokens_of(self, start: int, end: int) -> tuple[int, int] | None:
        """Return the first and the last token of the context that share a character with a span, if any does."""
        first, last = bisect_right(self.ends, start), bisect_left(self.starts, end) - 1
        return (first, last) if first <= last else None


def build_passage(
    tokenizer: PreTrainedTokenizerBase, question: str, context: str, *, max_length: int, doc_stride: int
) -> Passage:
    """Return the windows over a context, each behind the question and with the tokenizer's special tokens.

    Neighbours share ``doc_stride`` tokens, at most half of the room for the context; the last one reaches further
    back, so that it is as full as the others. A question takes at most half of the room for both; of a longer one the
    beginning is kept.

    Raises:
        ModelError: the tokenizer does not say which characters a token came from.
        RecipeError: ``max_length`` leaves no room for a question and a context.
    """
    if not tokenizer.is_fast:
        raise ModelError(
            f"{type(tokenizer).__name__} does not say which characters a token came from, so answers cannot be found "
            "in the text. Use a model with a fast tokenizer (tokenizer.json)."
        )
    frame = _Frame.of(tokenizer)
    room = max_length - frame.num_special
    if room < 2:
        raise RecipeError(f"data.max_length: {max_length} tokens leave no room for a question and a context.")
    asked = tokenizer(question, add_special_tokens=False, verbose=False)["input_ids"]
    read = tokenizer(context, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
    kept, ids, offsets = asked[: room // 2], read["input_ids"], read["offset_mapping"]
    width = room - len(kept)
    windows: list[Window] = []
    for begin in window_starts(len(ids), width=width, overlap=min(doc_stride, width // 2)):
        end = min(begin + width, len(ids))
        inputs, first = frame.filled(kept, ids[begin:end])
        repeated = frame.num_special + len(kept) + windows[-1].end - begin if windows else 0
        windows.append(Window(inputs, first, begin, end, _cls(tokenizer, inputs["input_ids"]), repeated))
    return Passage(windows, [one for one, _ in offsets], [one for _, one in offsets], len(asked) - len(kept))


@dataclass(frozen=True, slots=True)
class _Frame:
    """What stands around question and context, from the encoding of two words."""

    inputs: dict[str, list[int]]
    sequence_ids: Sequence[int | None]
    """0 for the question, 1 for the context (one place each), None for a special token."""

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> _Frame:
        encoding = tokenizer("a", "a", verbose=False)
        numbers = encoding.sequence_ids(0)
        # A word may be several tokens; one of each text stands for all.
        places = [i for i, one in enumerate(numbers) if one is None or one not in numbers[:i]]
        inputs = {name: [values[place] for place in places] for name, values in encoding.items()}
        return cls(inputs, [numbers[place] for place in places])

    @property
    def num_special(self) -> int:
        return sum(one is None for one in self.sequence_ids)

    def filled(self, question: list[int], context: list[int]) -> tuple[dict[str, list[int]], int]:
        """Return the inputs of one window, and the position of the first token of the context."""
        tokens = {0: question, 1: context}
        inputs: dict[str, list[int]] = {name: [] for name in self.inputs}
        first = 0
        for place, number in enumerate(self.sequence_ids):
            if number == 1:
                first = len(inputs["input_ids"])
            for name, values in self.inputs.items():
                if number is None:
                    inputs[name].append(values[place])
                elif name == "input_ids":
                    inputs[name] += tokens[number]
                else:
                    # Types and masks are the same for all tokens of one text.
                    inputs[name] += [values[place]] * len(tokens[number])
        return inputs, first


def _cls(tokenizer: PreTrainedTokenizerBase, input_ids: list[int]) -> int:
    """Return the position of the classification token, or of the one that begins a text, else the first position."""
    return next(
        (input_ids.index(one) for one in (tokenizer.cls_token_id, tokenizer.bos_token_id) if one in input_ids), 0
    )
