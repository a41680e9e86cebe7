"""Reads a file that a test spells out, as the text classification task would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headway.data.options import DataOptions
from headway.data.table import Table
from headway.types import Column

COLUMNS = (
    Column("text", "text", True, "the text"),
    Column("text_pair", "text", False, "the second text"),
    Column("label", "label", True, "the label"),
)


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Table]:
    """Write `content` to the file `name`, and read `source` (that file, if None) with the options given."""
    monkeypatch.chdir(tmp_path)

    def read(
        content: bytes | str | None = None,
        name: str = "rows.csv",
        *,
        source: Any = None,
        need_gold: bool = True,
        **options: Any,
    ) -> Table:
        if content is not None:
            Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
        given = DataOptions(train=source if source is not None else name, **options)
        return Table.read(given.train, options=given, columns=COLUMNS, need_gold=need_gold)

    return read
