import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headway.errors import RunError
from headway.report import predict_command, write_pages


def test_a_group_and_each_of_its_seeds_get_their_pages(seeds_run: Path) -> None:
    (seeds_run / "seed-0" / "model").mkdir(exist_ok=True)
    assert write_pages(seeds_run) == seeds_run / "report.html"
    for folder in (seeds_run, *seeds_run.glob("seed-*")):
        assert (folder / "report.html").exists()
        assert (folder / "README.md").exists()
    card = (seeds_run / "seed-0" / "README.md").read_text()
    assert (seeds_run / "seed-0" / "model" / "README.md").read_text() == card


def test_a_column_of_numbers_has_its_name_above_them(
    binary_run: Path, edit_json: Callable[[Path, Callable[[Any], None]], None]
) -> None:
    table = {
        "title": "Words",
        "note": "",
        "columns": ["word", "rows", "also"],
        "rows": [["<who>", 2, None], ["what", 3, "x"]],
    }

    def add(metrics: Any) -> None:
        for one in metrics["details"].values():
            one["tables"] = [table]

    edit_json(binary_run / "metrics.json", add)
    source = write_pages(binary_run).read_text()
    head = re.findall(r"<th scope=\"col\"([^>]*)>(word|rows|also)</th>", source)
    assert head == [("", "word"), (' class="n"', "rows"), ("", "also")]
    assert "<who>" not in source


def test_the_command_that_asks_a_run_names_its_columns(binary_run: Path, tmp_path: Path) -> None:
    assert predict_command(binary_run) == f"headway predict {binary_run} --text '...'"
    with pytest.raises(RunError):
        predict_command(tmp_path / "nowhere")
