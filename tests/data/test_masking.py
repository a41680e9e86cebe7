from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from headway.data.masking import choose_positions, hide

SPECIAL = (0, 1, 2, 3, 999)


def rng(*numbers: int) -> np.random.Generator:
    return np.random.default_rng(list(numbers))


def within(hits: int, of: int, share: float) -> bool:
    """Whether a count is one that chance gives in all but one of a million cases."""
    low, high = stats.binom.interval(1 - 1e-6, of, share)
    return bool(low <= hits <= high)


def test_the_share_of_tokens_is_the_one_asked_for() -> None:
    for share in (0.15, 0.5):
        assert within(len(choose_positions(np.ones(20_000, bool), probability=share, rng=rng(1))), 20_000, share)


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 1000), st.floats(0.01, 0.99))
def test_only_what_may_be_hidden_is_chosen_and_at_least_one(maskable: list[bool], seed: int, share: float) -> None:
    chosen = choose_positions(np.array(maskable, dtype=bool), probability=share, rng=rng(seed))
    assert all(maskable[position] for position in chosen)
    assert len(chosen) >= any(maskable)
    assert sorted(set(chosen.tolist())) == chosen.tolist()
    again = choose_positions(np.array(maskable, dtype=bool), probability=share, rng=rng(seed))
    assert again.tolist() == chosen.tolist()


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(0, 1000))
def test_whole_words_are_hidden_whole(sizes: list[int], seed: int) -> None:
    words = np.array([-1, *(number for number, size in enumerate(sizes) for _ in range(size)), -1])
    chosen = choose_positions(words >= 0, probability=0.3, rng=rng(seed), words=words)
    hidden = set(words[chosen].tolist())
    assert hidden
    assert chosen.tolist() == [place for place, word in enumerate(words.tolist()) if word in hidden]


def test_words_are_chosen_by_share_whatever_their_length() -> None:
    words = np.repeat(np.arange(10_000), np.arange(10_000) % 3 + 1)
    chosen = choose_positions(np.ones(len(words), bool), probability=0.15, rng=rng(2), words=words)
    assert within(len(set(words[chosen].tolist())), 10_000, 0.15)


def hidden(always: bool, count: int = 50_000) -> tuple[np.ndarray, np.ndarray]:
    before = rng(3).integers(4, 999, size=2 * count)
    positions = np.arange(0, 2 * count, 2)
    after = hide(before, positions, mask_id=3, num_tokens=1000, special_ids=SPECIAL, always=always, rng=rng(4))
    assert after[1::2].tolist() == before[1::2].tolist()
    return before[::2], after[::2]


def test_eighty_ten_ten() -> None:
    before, after = hidden(always=False)
    masked, same = (after == 3), (after == before)
    # Of 995 ordinary tokens a random one is the token itself.
    assert within(int(masked.sum()), len(before), 0.8)
    assert within(int(same.sum()), len(before), 0.1 + 0.1 / 995)
    assert within(int((~masked & ~same).sum()), len(before), 0.1 - 0.1 / 995)


def test_a_random_token_is_any_but_a_special_one() -> None:
    before, after = hidden(always=False, count=200_000)
    drawn = set(after[(after != 3) & (after != before)].tolist())
    assert drawn == set(range(1000)) - set(SPECIAL)


def test_always_is_always() -> None:
    assert set(hidden(always=True)[1].tolist()) == {3}


def test_the_ids_given_are_not_changed() -> None:
    ids = np.array([5, 6, 7])
    hide(ids, np.array([0, 1, 2]), mask_id=3, num_tokens=10, special_ids=[3], always=True, rng=rng(0))
    assert ids.tolist() == [5, 6, 7]


def test_nothing_maskable_is_nothing_hidden() -> None:
    assert choose_positions(np.zeros(5, bool), probability=0.5, rng=rng(0)).tolist() == []
    ids = np.array([1, 2])
    nothing = np.array([], dtype=np.int64)
    after = hide(ids, nothing, mask_id=3, num_tokens=10, special_ids=[3], always=False, rng=rng(0))
    assert after.tolist() == [1, 2]


@pytest.mark.parametrize("special", [(), (0,), (9,), (0, 1, 2, 3, 4, 5, 6, 7, 8)])
def test_any_set_of_special_ids(special: tuple[int, ...]) -> None:
    ids = np.zeros(4000, dtype=np.int64)
    drawn = hide(ids, np.arange(4000), mask_id=20, num_tokens=10, special_ids=special, always=False, rng=rng(5))
    assert set(drawn.tolist()) - {0, 20} == set(range(10)) - {0} - set(special)
