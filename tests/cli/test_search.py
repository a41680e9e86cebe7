from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headway.cli.app import run


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("items") / "items.csv"
    path.write_text("name,blurb\na,a great film\nb,a great film\nc,the food was awful\nd,rain in the street\n")
    return path


@pytest.fixture(scope="module")
def index(items: Path, tiny_bert: Path) -> Path:
    output = items.parent / "index"
    assert run(["search", "index", str(tiny_bert), str(items), "--column", "blurb", "--output", str(output)]) == 0
    return output


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run(["search", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_making_an_index(items: Path, tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["index", str(tiny_bert), str(items), "--data.columns.text", "name", "--output", str(tmp_path / "i")]
    made = answer(capsys, *arguments)
    assert (made["rows"], made["source"]) == (4, str(items))
    assert run(["search", *arguments]) == 8
    assert "exists already" in capsys.readouterr().err


def test_a_text_for_a_person_and_as_json(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "query", str(index), "--text", "a great film", "--top", "3")
    assert found["query"] == "a great film"
    assert [one["row"] for one in found["found"]][:2] == [0, 1]
    assert found["found"][0]["where"].endswith("items.csv, line 2")
    assert run(["search", "query", str(index), "--text", "a great film", "--top", "1"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split() == ["1.0000", "0", "a", "great", "film"]


def test_more_like_a_row(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "query", str(index), "--like", "1", "--top", "2")
    assert found["like"] == 1
    assert found["found"][0]["row"] == 0
    assert run(["search", "query", str(index), "--like", "9"]) == 3
    assert "has no row 9" in capsys.readouterr().err


def test_a_file_and_standard_input_give_a_line_each(
    index: Path, items: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["search", "query", str(index), "--data", str(items), "--column", "blurb", "--top", "1"]) == 0
    by_file = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["found"][0]["row"] for one in by_file] == [0, 0, 2, 3]
    given = b"a great film\na great film\nthe food was awful\nrain in the street\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    assert run(["search", "query", str(index), "-", "--top", "1"]) == 0
    by_line = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["query"] for one in by_line] == [one["query"] for one in by_file]
    assert [one["found"][0]["row"] for one in by_line] == [0, 0, 2, 3]


def test_duplicates(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "duplicates", str(index), "--threshold", "0.999")
    assert [(pair["first"]["row"], pair["second"]["row"]) for pair in found["pairs"]] == [(0, 1)]
    assert found["count"] == 1
    assert run(["search", "duplicates", str(index), "--threshold", "0.999"]) == 0
    assert "1 pairs of 4 texts have a cosine of 0.999 or more" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give exactly one of --text TEXT, --data FILE, --like ROW, or -"),
        (["--text", "a", "--like", "1"], "Give exactly one of"),
        (["--text", "a", "--data.format", "csv"], "goes with --data FILE"),
        (["--text", "a", "--top", "0"], "Must be >= 1"),
        (["--text", "a", "--engine", "annoy"], "annoy"),
    ],
)
def test_a_wrong_question(arguments: list[str], message: str, index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "query", str(index), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from headway.cli.app import run; run(['search', 'query', '--help']); "
        "heavy = {'torch', 'transformers', 'pyarrow', 'numpy'} & set(sys.modules); sys.exit(len(heavy))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
