from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from headway.cli.app import run
from headway.cli.predict import _lines


def records(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_one_text_for_a_person_and_as_json(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", str(finished_run), "--text", "the film was great"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] in ("good", "bad")
    assert lines[1].split()[1] == lines[0]
    assert run(["predict", str(finished_run), "--text", "the film was great", "--json"]) == 0
    (record,) = records(capsys.readouterr().out)
    assert record["text"] == "the film was great"
    assert set(record["probabilities"]) == {"good", "bad"}


def test_a_file_in_its_order_whatever_the_batch_size(
    finished_run: Path, reviews_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = []
    for size in ("1", "7"):
        output = tmp_path / f"{size}.jsonl"
        command = ["predict", str(finished_run), "--data", str(reviews_csv), "--output", str(output)]
        assert run([*command, "--batch_size", size]) == 0
        outputs.append(records(output.read_text()))
    texts = [line.rpartition(",")[0] for line in reviews_csv.read_text().splitlines()[1:]]
    assert [record["text"] for record in outputs[0]] == texts
    assert [record["value"] for record in outputs[0]] == [record["value"] for record in outputs[1]]
    assert run([*command]) == 8
    assert "exists already" in capsys.readouterr().err


def test_bfloat16_is_a_choice(
    finished_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["predict", str(finished_run), "--text", "the film was lovely", "--json"]
    monkeypatch.setattr("headway.predictor.has_bfloat16", lambda device: True)
    scores = []
    for more in ([], ["--bf16"]):
        assert run([*command, *more]) == 0
        scores.append(records(capsys.readouterr().out)[0]["score"])
    assert scores[0] != scores[1] == pytest.approx(scores[0], abs=0.02)
    monkeypatch.setattr("headway.predictor.has_bfloat16", lambda device: False)
    assert run([*command, "--bf16"]) == 2
    assert "bf16: this machine has no bfloat16 instructions" in capsys.readouterr().err


def test_standard_input_holds_texts_or_objects(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = b'the film was great\n{"text": "the film was awful"}\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    assert run(["predict", str(finished_run), "-"]) == 0
    assert [record["text"] for record in records(capsys.readouterr().out)] == [
        "the film was great",
        "the film was awful",
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (3.1415926410125732, "3.1416"),
        ("joy", "joy"),
        (["joy", "fear"], "joy, fear"),
        ([{"text": "Oslo", "type": "LOC", "start": 3, "score": 0.98765432}], "Oslo  LOC  3  0.9877"),
    ],
)
def test_a_person_reads_four_digits(value: Any, shown: str) -> None:
    assert _lines({"value": value}) == shown


def test_what_was_not_read_is_said(finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "new.csv").write_text("text\ngood book\n" + "bad " * 100 + '\n""\n')
    assert run(["predict", str(finished_run), "--data", str(tmp_path / "new.csv")]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 3
    assert "tokens that the model reads at once: 1 of 3. It did not see" in said.err
    assert "Rows with an empty or blank text, answered all the same: 1 of 3." in said.err
    assert run(["predict", str(finished_run), "--text", "bad " * 100]) == 0
    assert "tokens that the model reads at once: 1 of 1. It did not see" in capsys.readouterr().err
    assert run(["predict", str(finished_run), "--text", "a good book"]) == 0
    assert not capsys.readouterr().err


def test_exactly_one_source_is_asked_for(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", str(finished_run)]) == 2
    assert "exactly one of --text" in capsys.readouterr().err


def test_a_bar_shows_on_a_terminal_where_the_answers_do_not(
    finished_run: Path, reviews_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    output = tmp_path / "out.jsonl"
    assert run(["predict", str(finished_run), "--data", str(reviews_csv), "--output", str(output)]) == 0
    assert "Predicting" in capsys.readouterr().err
    assert len(records(output.read_text())) == 40
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert run(["predict", str(finished_run), "--data", str(reviews_csv)]) == 0
    captured = capsys.readouterr()
    assert len(records(captured.out)) == 40
    assert "Predicting" not in captured.err
