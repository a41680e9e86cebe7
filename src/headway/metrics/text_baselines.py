"""What a summary, a translation or a reply scores that takes no model: the beginning, the source, a known reply.

A task asks for them beside its own predictions, so the report opens with the gain. scikit-learn is imported where it
is used.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from headway.metrics.baselines import sample, tfidf_vectors
from headway.segmentation import lines_of

BLOCK = 64
"""Contexts that are compared with all of train at once."""

# "#Person1#: ", "Ms. Dawson: "; as many characters as a name may have, so that hardly a sentence with a colon is one.
_SPEAKER = re.compile(r"\s*[^\s:：][^:：\n]{0,39}[:：]")


def lead_sentences(text: str, n: int = 3) -> str:
    """Return the first ``n`` sentences, the hardest simple summary of news to beat; of a dialogue, the first turns.

    A text is a dialogue if it has several lines, and more than half of them begin with a speaker and a colon: then a
    turn is one line, however many sentences it holds, and the turns stay on lines of their own. In any other text a
    line break ends a sentence, as a full stop does, so headlines and paragraphs do not run together.
    """
    pieces, joint = _pieces(text)
    return joint.join(pieces[:n])


def random_sentence(text: str, *, seed: int, row: int) -> str:
    """Return a sentence of the text, or a turn of a dialogue (see `lead_sentences`); "" of a text without any.

    Args:
        text: the source.
        seed: of the run.
        row: number of the row; with the seed it decides which sentence is drawn.
    """
    pieces, _ = _pieces(text)
    return pieces[int(np.random.default_rng([seed, row]).integers(len(pieces)))] if pieces else ""


def copy_source(text: str) -> str:
    """Return the source as it is: names, numbers and loan words are right in any language."""
    return text.strip()


def commonest_reply(train_replies: Sequence[str]) -> str:
    """Return the reply given most often in train, of equally frequent ones the first; "" where there is none."""
    replies = Counter(text for reply in train_replies if (text := reply.strip()))
    return replies.most_common(1)[0][0] if replies else ""


def nearest_replies(
    train_contexts: Sequence[str], train_replies: Sequence[str], contexts: Sequence[str], *, seed: int
) -> list[str]:
    """Return for each context the reply that train gives to the one most like it by TF-IDF.

    Of equally similar ones the first in train counts. A context that has no word in common with train gets the
    commonest reply.

    Args:
        train_contexts: contexts to search.
        train_replies: the reply to each.
        contexts: what to reply to.
        seed: fixes the sample of a very long train.
    """
    chosen = sample(len(train_contexts), seed)
    known = [train_contexts[row] for row in chosen]
    default = commonest_reply(train_replies)
    if not known or not contexts:
        return [default] * len(contexts)
    left, right = tfidf_vectors(known, contexts, known)
    replies = []
    for start in range(0, len(contexts), BLOCK):
        cosines = (left[start : start + BLOCK] @ right.T).toarray()  # (block, train)
        for row, best in zip(cosines, cosines.argmax(axis=1), strict=True):
            replies.append(train_replies[chosen[best]] if row[best] > 0 else default)
    return replies


def _pieces(text: str) -> tuple[list[str], str]:
    """Return the sentences of a text, or the turns of a dialogue, and what stands between them."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    turns = sum(_SPEAKER.match(line) is not None for line in lines)
    if len(lines) > 1 and 2 * turns > len(lines):
        return lines, "\n"
    return lines_of(text), " "
