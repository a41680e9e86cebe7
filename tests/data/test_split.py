from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.data.split import some_of_each, split
from headway.data.table import Table
from headway.errors import DataError


def table_of(labels: list[str], texts: list[str] | None = None) -> Table:
    texts = texts or [f"text {number}" for number in range(len(labels))]
    return Table.from_rows([{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)])


def rows_of(table: Table) -> list[int]:
    return [int(table.where(number).rpartition(" ")[2]) for number in range(len(table))]


def test_each_label_gives_up_its_share_and_order_is_kept() -> None:
    table = table_of((["a"] * 6 + ["b"] * 3 + ["c"]) * 10)
    train, validation = split(table, share=0.2, seed=0, stratify_by="label")
    assert Counter(validation.column("label")) == {"a": 12, "b": 6, "c": 2}
    assert rows_of(train) == sorted(rows_of(train))
    assert rows_of(validation) == sorted(rows_of(validation))
    assert sorted(rows_of(train) + rows_of(validation)) == list(range(1, 101))


def test_the_rows_held_out_are_fixed_for_ever() -> None:
    # Written down once: another version that holds out other rows makes old results incomparable.
    _, validation = split(table_of(["a", "b"] * 10), share=0.2, seed=0, stratify_by="label")
    assert rows_of(validation) == [11, 12, 14, 17]


def test_another_seed_holds_out_other_rows() -> None:
    table = table_of(["a", "b"] * 50)
    first, again, other = (split(table, share=0.1, seed=seed, stratify_by="label")[1] for seed in (0, 0, 1))
    assert rows_of(first) == rows_of(again) != rows_of(other)


def test_remainders_are_shared_out_largest_first() -> None:
    table = table_of(["a"] * 16 + ["b"] * 18 + ["c"] * 16)
    _, validation = split(table, share=0.1, seed=0, stratify_by="label")
    assert Counter(validation.column("label")) == {"a": 2, "b": 2, "c": 1}


def test_a_label_of_one_row_stays_in_train() -> None:
    train, validation = split(table_of(["a"] * 9 + ["rare"]), share=0.5, seed=0, stratify_by="label")
    assert "rare" in train.column("label")
    assert len(validation) == 5


def test_the_only_row_of_a_label_is_not_carried_off_by_an_equal_text() -> None:
    texts = [f"text {number // 2}" for number in range(20)]
    for seed in range(10):
        train, _ = split(table_of(["a"] * 19 + ["rare"], texts), share=0.5, seed=seed, stratify_by="label")
        assert "rare" in train.column("label")


@given(st.lists(st.sampled_from("uvwxyz"), min_size=6, max_size=60), st.integers(0, 5))
def test_equal_texts_stay_on_one_side(texts: list[str], seed: int) -> None:
    table = table_of(["a", "b"] * (len(texts) // 2) + ["a"] * (len(texts) % 2), texts)
    try:
        train, validation = split(table, share=0.3, seed=seed, stratify_by="label")
    except DataError:
        return
    assert not {*train.column("text")} & {*validation.column("text")}
    assert len(train) + len(validation) == len(texts)


def test_numbers_and_lists_of_labels_need_no_strata() -> None:
    numbers = Table.from_rows([{"text": str(number), "label": float(number)} for number in range(20)])
    _, validation = split(numbers, share=0.25, seed=0, stratify_by=None)
    assert len(validation) == 5
    lists = Table.from_rows([{"text": str(number), "label": ["x", str(number)]} for number in range(20)])
    _, validation = split(lists, share=0.25, seed=0, stratify_by="label")
    assert len(validation) == 5


@pytest.mark.parametrize(("num_rows", "share"), [(4, 0.1), (1, 0.5), (10, 0.99), (10, 0.0), (10, 1.5)])
def test_an_impossible_share_is_refused(num_rows: int, share: float) -> None:
    with pytest.raises(DataError, match=r"data\.validation"):
        split(table_of(["a"] * num_rows), share=share, seed=0, stratify_by="label")


def test_one_text_in_all_rows_cannot_be_split() -> None:
    with pytest.raises(DataError, match="too few different rows"):
        split(table_of(["a"] * 10, ["same"] * 10), share=0.5, seed=0, stratify_by="label")


def test_some_of_each_label_drawn_by_the_seed_in_the_order_of_the_file() -> None:
    table = table_of(["a"] * 20 + ["b"] * 3 + ["c"] * 8)
    few = some_of_each(table, "label", most=4, seed=0)
    assert Counter(few.column("label")) == {"a": 4, "b": 3, "c": 4}
    assert rows_of(few) == sorted(rows_of(few))
    assert rows_of(some_of_each(table, "label", most=4, seed=0)) == rows_of(few)
    assert rows_of(some_of_each(table, "label", most=4, seed=1)) != rows_of(few)
    # Fewer are a part of more, so a curve over them compares like with like.
    assert set(rows_of(some_of_each(table, "label", most=2, seed=0))) < set(rows_of(few))
