"""Which tokens a model has to guess, and what it sees in their place: BERT's masking, drawn with numpy.

Devlin et al. 2019 (arXiv:1810.04805, section 3.1): of the chosen tokens 80 % become the mask, 10 % a random token and
10 % stay, so that the model cannot rely on the mask, which no later task shows it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

SHARE_MASKED = 0.8
SHARE_RANDOM = 0.1


def choose_positions(
    is_maskable: NDArray[np.bool_], *, probability: float, rng: np.random.Generator, words: Integers | None = None
) -> Integers:
    """Return the positions to guess, ascending; at least one where any token is maskable.

    Args:
        is_maskable: (tokens,) whether a token may be chosen; special tokens may not.
        probability: of each token, or of each word, to be chosen.
        rng: where the choice is drawn from.
        words: (tokens,) number of the word that each token is part of; given, all tokens of a word are chosen
            together (whole-word masking).
    """
    maskable = np.flatnonzero(is_maskable)
    if not len(maskable):
        return maskable
    # Tokens that are drawn together: those of one word, or each alone.
    _, unit = np.unique(maskable if words is None else words[maskable], return_inverse=True)
    is_chosen = rng.random(unit.max() + 1) < probability
    if not is_chosen.any():
        is_chosen[rng.integers(len(is_chosen))] = True
    chosen: Integers = maskable[is_chosen[unit]]
    return chosen


def hide(
    input_ids: Integers,
    positions: Integers,
    *,
    mask_id: int,
    num_tokens: int,
    special_ids: Sequence[int],
    always: bool,
    rng: np.random.Generator,
) -> Integers:
    """Return the ids with those at ``positions`` hidden.

    Args:
        input_ids: (tokens,) the ids; they are not changed.
        positions: which to hide.
        mask_id: the id of the mask.
        num_tokens: size of the vocabulary, special tokens included.
        special_ids: ids that never stand for a random token.
        always: hide every one under the mask, instead of 80 % mask, 10 % random, 10 % unchanged.
        rng: where the choice is drawn from.
    """
    hidden = input_ids.copy()
    if always:
        hidden[positions] = mask_id
        return hidden
    draw = rng.random(len(positions))
    special = sorted({one for one in special_ids if one < num_tokens})
    random = rng.integers(num_tokens - len(special), size=len(positions))
    # The n-th ordinary token: each special id at or below it moves it up by one.
    for one in special:
        random += random >= one
    hidden[positions[draw < SHARE_MASKED]] = mask_id
    is_random = (draw >= SHARE_MASKED) & (draw < SHARE_MASKED + SHARE_RANDOM)
    hidden[positions[is_random]] = random[is_random]
    return hidden
