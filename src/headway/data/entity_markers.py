"""A sentence with two marked entities: read from marks in the text or from spans, shown to a model with its own.

Stands between the row of relation extraction and its features. A sentence that is too long keeps both entities.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from headway.data.truncation import drop_tokens
from headway.errors import DataError

TAGS = ("<e1>", "</e1>", "<e2>", "</e2>")
_TAG = re.compile(r"</?e[12]>")
MAX_CHARACTERS = 50_000
"""Characters on each side of an entity that are tokenised; what lies farther off cannot enter the model."""


@dataclass(frozen=True, slots=True)
class MarkedText:
    """A sentence in five parts: what stands before, the entity that comes first, between, the other one, and after."""

    before: str
    first: str
    between: str
    second: str
    after: str
    is_reversed: bool
    """Whether the entity that comes first is e2."""

    @classmethod
    def of(cls, text: str, head: Mapping[str, int] | None = None, tail: Mapping[str, int] | None = None) -> MarkedText:
        """Return the sentence in its parts.

        Args:
            text: the sentence; without spans it holds ``<e1>...</e1>`` and ``<e2>...</e2>``, each once.
            head: start and end of e1 in ``text``, in characters.
            tail: the same of e2.

        Raises:
            DataError: an entity is not marked exactly once, the two lie in one another, or a span leaves the text.
        """
        if head is None and tail is None:
            return cls._of_tags(text)
        if head is None or tail is None:
            raise DataError(f"the row holds {'tail' if head is None else 'head'!r} alone; give both 'head' and 'tail'.")
        for name, span in (("head", head), ("tail", tail)):
            if span["end"] > len(text):
                raise DataError(
                    f"column {name!r} holds the span {span['start']} to {span['end']}, but the text has {len(text)} "
                    f"characters: {text!r:.60}."
                )
        (first, second), is_reversed = (head, tail), False
        if tail["start"] < head["start"]:
            (first, second), is_reversed = (tail, head), True
        if second["start"] < first["end"]:
            raise DataError(
                f"head and tail overlap ({text[first['start'] : first['end']]!r:.60} and "
                f"{text[second['start'] : second['end']]!r:.60}); the two entities must stand apart."
            )
        return cls(
            text[: first["start"]],
            text[first["start"] : first["end"]],
            text[first["end"] : second["start"]],
            text[second["start"] : second["end"]],
            text[second["end"] :],
            is_reversed,
        )

    @classmethod
    def _of_tags(cls, text: str) -> MarkedText:
        found = _TAG.findall(text)
        for tag in TAGS:
            if (count := found.count(tag)) != 1:
                problem = "is missing" if not count else f"stands {count} times"
                raise DataError(
                    f"the mark {tag} {problem} in {text!r:.80}. Mark the two entities as <e1>...</e1> and "
                    "<e2>...</e2>, or give the columns 'head' and 'tail'."
                )
        is_reversed = found[0] == "<e2>"
        expected = [*TAGS[2:], *TAGS[:2]] if is_reversed else list(TAGS)
        if found != expected:
            raise DataError(
                f"the marks of the two entities lie in one another, or end before they begin: {text!r:.80}."
            )
        parts = _TAG.split(text)
        for tag, part in ((found[0], parts[1]), (found[2], parts[3])):
            if not part.strip():
                raise DataError(f"nothing stands between {tag} and its end in {text!r:.80}.")
        before, first, between, second, after = parts
        return cls(before, first, between, second, after, is_reversed)


def marked_features(
    tokenizer: PreTrainedTokenizerBase, marked: MarkedText, *, markers: tuple[str, str], max_length: int
) -> tuple[dict[str, list[int]], int]:
    """Return the model inputs of a sentence with ``markers`` around its entities, and the number of tokens left out.

    Each marker stands between blanks, so that no tokenizer joins it with its neighbour. Of a sentence longer than
    ``max_length`` tokens, those farthest from both entities are left out. Entities that are too long for themselves
    keep their markers, and lose tokens in their middle, the longer one first.
    """
    first, second = reversed(markers) if marked.is_reversed else markers
    before, between, after = _beginning_cut(marked.before), _middle_cut(marked.between), marked.after[:MAX_CHARACTERS]
    pieces = ["", before, "", f"{first} {_middle_cut(marked.first)} {first}", "", between, "",
              f"{second} {_middle_cut(marked.second)} {second}", "", after]  # fmt: skip
    for place in range(2, len(pieces), 2):
        left, right = "".join(pieces[:place]), pieces[place + 1]
        has_blank = left[-1:].isspace() or right[:1].isspace()
        pieces[place] = " " if left and right and not has_blank else ""
    text = "".join(pieces)
    starts = [len("".join(pieces[:place])) for place in (3, 7)]
    spans = [(start, start + len(pieces[place])) for start, place in zip(starts, (3, 7), strict=True)]
    encoding = tokenizer(text, truncation=False, verbose=False)
    inputs: dict[str, list[int]] = dict(encoding)
    num_tokens = len(inputs["input_ids"])
    whole = sum(map(len, (marked.before, marked.first, marked.between, marked.second, marked.after)))
    seen = sum(map(len, (before, _middle_cut(marked.first), between, _middle_cut(marked.second), after)))
    # What was never tokenised is estimated by the tokens of the rest.
    lost = round((whole - seen) * num_tokens / max(seen, 1))
    if num_tokens > max_length:
        dropped = _farthest(encoding, spans, num_tokens - max_length)
        inputs = {name: [one for i, one in enumerate(values) if i not in dropped] for name, values in inputs.items()}
        lost += len(dropped)
    return inputs, lost


def _farthest(encoding: Any, spans: Sequence[tuple[int, int]], excess: int) -> set[int]:
    """Return the positions of the ``excess`` tokens that lie farthest from the spans."""
    sequence_ids = encoding.sequence_ids(0)
    positions = [i for i, one in enumerate(sequence_ids) if one is not None]
    # A token may begin at the blank before it, so its end tells whether it lies in a span.
    ends = {i: encoding.token_to_chars(i).end for i in positions}
    entities = [[i for i in positions if start < ends[i] <= end] for start, end in spans]
    kept = {i for entity in entities for i in entity}
    others = [i for i in positions if i not in kept]
    if excess > len(others):
        return set(others) | drop_tokens(entities, excess - len(others), "head+tail")
    edges = [entity[place] for entity in entities for place in (0, -1) if entity]
    return set(sorted(others, key=lambda i: min(abs(i - edge) for edge in edges))[len(others) - excess :])


def _beginning_cut(text: str) -> str:
    return text[-MAX_CHARACTERS:]


def _middle_cut(text: str) -> str:
    if len(text) <= 2 * MAX_CHARACTERS:
        return text
    return f"{text[:MAX_CHARACTERS]} {text[-MAX_CHARACTERS:]}"
