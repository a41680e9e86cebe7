"""Information extraction: the entities of a text by one run, how they are related by another, as triples.

for found in extract("runs/entities", "runs/relations", ["Ada Lovelace lived in London."]):
    print(found.triples)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from headway.errors import RecipeError
from headway.metrics.relations import relation_of
from headway.predictor import Predictor
from headway.segmentation import sentences_of
from headway.tasks.relation_extraction import RelationExtraction
from headway.types import Prediction, Row

TEXTS_AT_ONCE = 256
"""Texts whose entities are held at one time."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A piece of a text, from ``start`` to before ``end`` in characters, and what it is."""

    text: str
    start: int
    end: int
    label: str
    score: float | None


@dataclass(frozen=True, slots=True)
class Triple:
    """Two entities and the relation that runs from the head to the tail."""

    head: Entity
    relation: str
    tail: Entity
    probability: float


@dataclass(frozen=True, slots=True)
class Extraction:
    """What was found in one text."""

    text: str
    entities: tuple[Entity, ...]
    triples: tuple[Triple, ...]


def extract(
    entity_run: str | Path | Predictor,
    relation_run: str | Path | Predictor,
    texts: Iterable[str],
    *,
    threshold: float = 0.5,
    max_distance: int = 30,
) -> Iterator[Extraction]:
    """Return the entities and triples of each text, in the order of the texts, holding a bounded number of them.

    Every two entities of one sentence are shown to the relation model: once where its labels say which way a relation
    runs (``Founded(e2,e1)``), so that the triple is turned accordingly; else in either order. Predictions of the
    negative label make no triple.

    Args:
        entity_run: a run of token classification, its model folder, or its predictor.
        relation_run: the same of relation extraction.
        texts: raw texts of any length.
        threshold: the least probability of a relation.
        max_distance: the most words between two entities that are looked at together.

    Raises:
        RecipeError: a run is of another task, or a number is out of its range.
        RunError: there is no such run.
    """
    if not 0 <= threshold <= 1:
        raise RecipeError(f"threshold is a probability between 0 and 1, found {threshold}.")
    if max_distance < 0:
        raise RecipeError(f"max_distance is a number of words, 0 or more, found {max_distance}.")
    tagger = entity_run if isinstance(entity_run, Predictor) else Predictor.load(entity_run)
    linker = relation_run if isinstance(relation_run, Predictor) else Predictor.load(relation_run)
    check_runs(tagger, linker)
    return _extractions(tagger, linker, texts, threshold=threshold, max_distance=max_distance)


def check_runs(tagger: Predictor, linker: Predictor) -> None:
    """Complain if the two predictors do not serve, or stand in the wrong order.

    Raises:
        RecipeError: one of them is of another task.
    """
    if tagger.task.model_kind != "token-classification":
        raise RecipeError(
            f"The first run must find entities (task token-classification); this one is of {tagger.task.type}."
        )
    if not isinstance(linker.task, RelationExtraction):
        raise RecipeError(
            f"The second run must relate entities (task relation-extraction); this one is of {linker.task.type}."
        )


def _extractions(
    tagger: Predictor, linker: Predictor, texts: Iterable[str], *, threshold: float, max_distance: int
) -> Iterator[Extraction]:
    remaining = iter(texts)
    labels = linker.task.labels if isinstance(linker.task, RelationExtraction) else ()
    has_direction = any(relation_of(label)[1] is not None for label in labels)
    while chunk := list(itertools.islice(remaining, TEXTS_AT_ONCE)):
        entities = [_entities(one) for one in tagger.stream(chunk)]
        pairs = [
            (number, head, tail, row)
            for number, (text, held) in enumerate(zip(chunk, entities, strict=True))
            for head, tail, row in _pairs(text, held, max_distance=max_distance, both_ways=not has_direction)
        ]
        triples: list[list[Triple]] = [[] for _ in chunk]
        predictions = linker.stream(row for *_, row in pairs)
        for (number, head, tail, _), prediction in zip(pairs, predictions, strict=True):
            triple = _triple(head, tail, prediction, linker)
            if triple is not None and triple.probability >= threshold:
                triples[number].append(triple)
        for text, held, found in zip(chunk, entities, triples, strict=True):
            yield Extraction(text, tuple(held), tuple(found))


def _entities(prediction: Prediction) -> list[Entity]:
    """Return the entities of a text in their order, whatever else the prediction says of them."""
    found = [Entity(one["text"], one["start"], one["end"], one["label"], one.get("score")) for one in prediction.value]
    return sorted(found, key=lambda one: (one.start, one.end))


def _pairs(
    text: str, entities: Sequence[Entity], *, max_distance: int, both_ways: bool
) -> Iterator[tuple[Entity, Entity, Row]]:
    """Yield the pairs of entities of each sentence, with the row that shows the sentence to the relation model."""
    if len(entities) < 2:
        return
    for start, end in _sentences(text):
        inside = [one for one in entities if start <= one.start and one.end <= end]
        for first, second in itertools.combinations(inside, 2):
            if second.start < first.end or len(text[first.end : second.start].split()) > max_distance:
                continue
            for head, tail in ((first, second), (second, first)) if both_ways else ((first, second),):
                spans = {
                    name: {"start": one.start - start, "end": one.end - start}
                    for name, one in (("head", head), ("tail", tail))
                }
                yield head, tail, {"text": text[start:end], **spans}


def _sentences(text: str) -> list[tuple[int, int]]:
    """Return where the sentences of a text begin and end."""
    bounds, place = [], 0
    for sentence in sentences_of(text):
        start = text.index(sentence, place)
        place = start + len(sentence)
        bounds.append((start, place))
    return bounds


def _triple(first: Entity, second: Entity, prediction: Prediction, linker: Predictor) -> Triple | None:
    task = linker.task
    if isinstance(task, RelationExtraction) and prediction.value == task.negative_label:
        return None
    relation, runs_forward = relation_of(prediction.value)
    head, tail = (second, first) if runs_forward is False else (first, second)
    return Triple(head, relation, tail, prediction.score or 0.0)
