"""That the folder gives the same vectors in sentence-transformers is tested with the task that writes it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headway.models.sentence_folder import companions

OPTIONS: dict[str, Any] = {
    "width": 32, "pooling": "mean", "normalize": True, "max_length": 12, "query_prefix": "", "passage_prefix": "",
}  # fmt: skip


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_exactly_one_pooling_is_on(pooling: str) -> None:
    written = companions(**{**OPTIONS, "pooling": pooling})
    on = [name for name, value in written["1_Pooling/config.json"].items() if value is True]
    assert len(on) == 1
    assert on[0].startswith(f"pooling_mode_{pooling}")


@pytest.mark.parametrize("normalize", [True, False])
def test_the_last_module_scales_only_if_asked(normalize: bool) -> None:
    modules = companions(**{**OPTIONS, "normalize": normalize})["modules.json"]
    assert [one["path"] for one in modules] == ["", "1_Pooling", "2_Normalize"][: 2 + normalize]


def test_a_text_without_a_role_is_a_query_where_queries_have_a_prefix() -> None:
    plain, e5 = (companions(**{**OPTIONS, "query_prefix": prefix}) for prefix in ("", "query: "))
    assert plain["config_sentence_transformers.json"]["default_prompt_name"] is None
    assert e5["config_sentence_transformers.json"]["default_prompt_name"] == "query"
    assert json.loads(json.dumps(e5)) == e5
