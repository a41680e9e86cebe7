"""Tags that mark entities word by word: which scheme they keep to, their form in IOB2, and the likeliest of them.

Schemes (Ramshaw and Marcus 1995, arXiv:cmp-lg/9505040; Ratinov and Roth 2009): in IOB2 ``B-X`` begins every entity of
type X and ``I-X`` goes on with it; in IOB1 ``B-X`` is written only where an entity follows another of the same type;
in BIOES ``E-X`` ends an entity and ``S-X`` is one of a single word (BILOU writes ``L`` and ``U``). ``O`` is outside of
all. Within headway all tags are IOB2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scheme = Literal["IOB1", "IOB2", "BIOES", "none"]
OUTSIDE = "O"
_PREFIXES = "BIESLU"

Entity = tuple[str, int, int]
"""Type, and the words from the first to behind the last one."""


def parse(tag: str) -> tuple[str, str] | None:
    """Return prefix and type of a tag (``B``, ``PER``), ``("O", "")`` for the outside, or None for a plain tag."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    prefix, dash, kind = tag.partition("-")
    return (prefix, kind) if dash and kind and len(prefix) == 1 and prefix in _PREFIXES else None


def guess_scheme(sentences: Iterable[Sequence[str]]) -> tuple[Scheme, str]:
    """Return the scheme that all tags keep to, and what speaks against it (empty: nothing).

    Plain tags (parts of speech) have the scheme `none`. Tags of only ``B-`` and ``I-`` that fit both forms of IOB are
    IOB2. What speaks against the scheme found is meant for a message.
    """
    prefixes: set[str] = set()
    plain = ""
    against_iob2 = against_iob1 = ""
    for tags in sentences:
        before = (OUTSIDE, "")
        for number, tag in enumerate(tags, 1):
            parsed = parse(tag)
            if parsed is None:
                plain = plain or tag
                before = (OUTSIDE, "")
                continue
            prefix, kind = parsed
            prefixes.add(prefix)
            follows = before[0] != OUTSIDE and before[1] == kind
            if prefix == "I" and not follows:
                against_iob2 = against_iob2 or f"{tag!r} begins an entity (word {number} of {' '.join(tags)!r:.200})"
            if prefix == "B" and not follows:
                against_iob1 = against_iob1 or f"{tag!r} follows no {kind} (word {number} of {' '.join(tags)!r:.200})"
            before = parsed
    marked = prefixes - {OUTSIDE}
    if plain:
        example = f"{plain!r} is a plain tag beside those with {', '.join(f'{one}-' for one in sorted(marked))}"
        return "none", example if marked else ""
    if marked & set("ESLU"):
        return "BIOES", ""
    if not against_iob2:
        return "IOB2", ""
    return "IOB1", f"{against_iob1}, as in IOB2, and {against_iob2}, as in IOB1" if against_iob1 else ""


def to_iob2(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """Return the tags of a sentence in IOB2; plain tags (`none`) as they are.

    An entity begins at ``B-X`` or ``S-X``, and at any other ``.-X`` that follows no entity of type X that is still open
    (one is closed behind ``E-X`` and ``S-X``). So nothing that is tagged gets lost, and a tag that its scheme forbids,
    such as ``I-X`` behind ``O`` in IOB2, begins an entity.
    """
    if scheme == "none":
        return list(tags)
    converted = []
    open_kind = ""
    for tag in tags:
        prefix, kind = parse(tag) or (OUTSIDE, "")
        if prefix == OUTSIDE:
            converted.append(OUTSIDE)
            open_kind = ""
            continue
        begins = prefix in "BSU" or kind != open_kind
        converted.append(f"{'B' if begins else 'I'}-{kind}")
        open_kind = "" if prefix in "ESLU" else kind
    return converted


def entities_of(tags: Sequence[str]) -> list[Entity]:
    """Return the entities of tags in IOB2; ``I-X`` without a beginning is none, as in strict scoring."""
    entities: list[Entity] = []
    open_kind, begin = "", 0
    for number, tag in enumerate([*tags, OUTSIDE]):
        prefix, kind = parse(tag) or (OUTSIDE, "")
        if open_kind and not (prefix == "I" and kind == open_kind):
            entities.append((open_kind, begin, number))
            open_kind = ""
        if prefix == "B":
            open_kind, begin = kind, number
    return entities


def tags_of(entities: Iterable[Entity], num_words: int) -> list[str]:
    """Return the tags in IOB2 of entities that share no word."""
    tags = [OUTSIDE] * num_words
    for kind, begin, end in entities:
        tags[begin:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - begin - 1)]
    return tags


def kinds_of(labels: Iterable[str]) -> list[str]:
    """Return the types of entities among tags, in order of first occurrence."""
    return list(dict.fromkeys(parsed[1] for label in labels if (parsed := parse(label)) and parsed[1]))


def forbidden_transitions(labels: Sequence[str]) -> NDArray[np.bool_]:
    """Return (labels + 1, labels): whether a tag of IOB2 may not follow another; the last row is the beginning."""
    parsed = [parse(label) or (OUTSIDE, "") for label in labels]
    rows = [*parsed, (OUTSIDE, "")]
    return np.array([[then[0] == "I" and before[1] != then[1] for then in parsed] for before in rows], dtype=np.bool_)


def likeliest_tags(log_probabilities: NDArray[np.floating], forbidden: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    """Return the number of each word's tag: the likeliest sequence in which no forbidden pair occurs (Viterbi 1967).

    Args:
        log_probabilities: (words, labels).
        forbidden: from `forbidden_transitions`; None takes the likeliest tag of each word for itself.
    """
    best = log_probabilities.argmax(axis=1) if len(log_probabilities) else np.zeros(0, dtype=np.int64)
    if forbidden is None or not forbidden[np.concatenate([[-1], best[:-1]]), best].any():
        # Where the best of all sequences is allowed, it is the best of those allowed.
        return best.astype(np.int64)
    penalty = np.where(forbidden, -np.inf, 0.0)
    score = log_probabilities[0] + penalty[-1]  # (labels,): of the best sequence that ends in each label
    came_from = np.zeros(log_probabilities.shape, dtype=np.int64)
    for word in range(1, len(log_probabilities)):
        reached = score[:, None] + penalty[:-1]  # (label before, label)
        came_from[word] = reached.argmax(axis=0)
        score = reached.max(axis=0) + log_probabilities[word]
    path = np.empty(len(log_probabilities), dtype=np.int64)
    path[-1] = score.argmax()
    for word in range(len(path) - 1, 0, -1):
        path[word - 1] = came_from[word, path[word]]
    return path
