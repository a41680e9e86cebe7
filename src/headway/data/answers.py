"""The answers of a question as spans of its context, however the file writes them, with wrong offsets found and mended.

A cell may hold ``{"text": [...], "answer_start": [...]}`` (the layout of the hub), a list of mappings of one text and
its ``answer_start`` (SQuAD), one such mapping, or the answer's text alone; an empty list or text is no answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headway.errors import DataError
from headway.segmentation import sentences_of

MAX_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """A span of the context: ``context[start:end] == text``."""

    text: str
    start: int

    @property
    def end(self) -> int:
        """The place behind the last character."""
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Answers:
    """All true answers of a question, in the order of the file; none where it cannot be answered."""

    spans: tuple[Answer, ...]
    repaired: tuple[str, ...] = ()
    """What was wrong with the offsets that were mended, in words."""

    @property
    def texts(self) -> list[str]:
        """The text of each."""
        return [answer.text for answer in self.spans]

    def to_json(self) -> dict[str, list[Any]]:
        """Return the layout of the hub: texts and where they start."""
        return {"text": self.texts, "answer_start": [answer.start for answer in self.spans]}


def read_answers(value: Any, context: str, *, repair: bool) -> Answers:
    """Return the answers in a cell as spans of the context.

    Args:
        value: the cell.
        context: the text that the answers are part of.
        repair: put an answer that does not stand at its offset where its text stands, if that is one place only. An
            answer without an offset is looked up in either case.

    Raises:
        DataError: the cell has another form, or it is not clear where in the context an answer stands.
    """
    spans, repaired, problems = [], [], []
    for text, start in _pairs(value):
        if start is not None and start >= 0 and context.startswith(text, start):
            spans.append(Answer(text, start))
            continue
        places = _places(text, context)
        said = (
            "has no offset" if start is None else f"does not stand at character {start}{_found(text, start, context)}"
        )
        if len(places) == 1 and (repair or start is None):
            spans.append(Answer(text, places[0]))
            if start is not None:
                repaired.append(f"{text!r:.{MAX_SHOWN}} {said}; it stands at {places[0]}")
        else:
            problems.append(f"the answer {text!r:.{MAX_SHOWN}} {said}{_why_not(len(places), start)}")
    if problems:
        raise DataError(f"column 'answers': {'; '.join(problems)}.")
    return Answers(tuple(spans), tuple(repaired))


def answer_texts(value: Any) -> list[str]:
    """Return the texts of the answers in a cell, without a look at where they stand.

    Raises:
        DataError: the cell has another form.
    """
    return [text for text, _ in _pairs(value)]


def sentences_as_answers(context: str) -> Iterator[Answer]:
    """Yield each sentence of a context as if it were the answer."""
    place = 0
    for sentence in sentences_of(context):
        answer = Answer(sentence, context.index(sentence, place))
        place = answer.end
        yield answer


def _pairs(value: Any) -> Iterator[tuple[str, int | None]]:
    """Yield the text and the offset of each answer; an empty text is none."""
    texts: list[Any]
    starts: list[Any]
    match value:
        case None:
            return
        case str():
            texts, starts = [value], [None]
        case list():
            for one in value:
                if not isinstance(one, str | dict):
                    raise _wrong_form(value)
                yield from _pairs(one)
            return
        case {"text": str(text), **rest}:
            texts, starts = [text], [rest.get("answer_start")]
        case {"text": list(texts), "answer_start": list(starts)} if len(texts) == len(starts):
            pass
        case {"text": list(texts), **rest} if rest.get("answer_start") is None:
            starts = [None] * len(texts)
        case _:
            raise _wrong_form(value)
    for text, start in zip(texts, starts, strict=True):
        whole = int(start) if isinstance(start, float) and start.is_integer() else start
        if not isinstance(text, str) or isinstance(whole, bool) or not isinstance(whole, int | None):
            raise _wrong_form(value)
        if text.strip():
            yield text, whole


def _wrong_form(value: Any) -> DataError:
    return DataError(
        f"column 'answers' holds {value!r:.{MAX_SHOWN}}, expected an answer's text, {{'text': [...], 'answer_start': "
        "[...]} with as many numbers as texts, or a list of {'text': ..., 'answer_start': ...}."
    )


def _places(text: str, context: str) -> list[int]:
    """Return where a text begins in the context; at most two places, for more are no clearer."""
    first = context.find(text)
    if first < 0:
        return []
    second = context.find(text, first + 1)
    return [first] if second < 0 else [first, second]


def _found(text: str, start: int, context: str) -> str:
    if not 0 <= start < len(context):
        return f" of a context of {len(context):,}"
    return f", where the context holds {context[start : start + len(text)]!r:.{MAX_SHOWN}}"


def _why_not(num_places: int, start: int | None) -> str:
    match num_places:
        case 0:
            return ", and the context does not hold it"
        case 1:
            return "; task.answer_repair: true puts it where it stands"
        case _:
            mend = "correct answer_start" if start is not None else "add answer_start"
            return f", and the context holds it more than once: {mend}"
