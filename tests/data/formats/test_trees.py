from __future__ import annotations

from collections.abc import Callable

import pytest

from headway.data.table import Table
from headway.errors import DataError

Read = Callable[..., Table]


def test_the_root_gives_the_label_and_the_leaves_the_words(read: Read) -> None:
    table = read("(3 (2 It) (4 (2 's) (4 lovely)))\n\n(1 (0 (2 -LRB-) (1 no)) (2 .))\n", "rows.txt", format="trees")
    assert list(table) == [{"text": "It 's lovely", "label": "3"}, {"text": "-LRB- no .", "label": "1"}]
    assert table.where(1) == "rows.txt, line 3"


def test_columns_can_be_renamed(read: Read) -> None:
    table = read("(3 (2 It) (4 works))\n", "rows.txt", format="trees", columns={"text": "text", "label": "label"})
    assert table[0] == {"text": "It works", "label": "3"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("(3 (2 It) (4 works)", "not closed"),
        ("(3 (2 It)) works", "after the tree's end"),
        ("(3 (2 It)) (2 a)", "after the tree's end"),
        ("It works", "does not begin with a bracket"),
        ("((2 It) (4 works))", "root has no label"),
        ("(3)", "holds no words"),
        ("(3 ())", "holds nothing"),
    ],
)
def test_a_broken_tree_is_named(line: str, words: str, read: Read) -> None:
    with pytest.raises(DataError, match=f"line 2: .*{words}"):
        read(f"(3 (2 It) (4 works))\n{line}\n", "rows.txt", format="trees")
