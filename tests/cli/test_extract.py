from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.test_extract import runs

from headway.cli.app import run
from headway.predictor import Predictor


def test_the_command_prints_triples(monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path) -> None:
    made = dict(zip(("ner", "re"), runs(), strict=True))
    monkeypatch.setattr(Predictor, "load", classmethod(lambda cls, name, **_: made[name]))
    command = ["extract", "ner", "re"]
    assert run([*command, "--text", "Bob founded Acme."]) == 0
    assert capsys.readouterr().out == "Bob [0:3] | Founded | Acme [12:16] | 0.8000\n"
    assert run([*command, "--text", "Bob saw Acme."]) == 0
    assert "Entities: Bob (PER), Acme (ORG)." in capsys.readouterr().err
    data = tmp_path / "texts.csv"
    data.write_text('body\n"Rome, and\nAnn founded Acme"\nnothing\nAcme by Bob\n')
    assert run([*command, "--data", str(data), "--data.columns.text", "body"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "1: Ann [10:13] | Founded | Acme [22:26] | 0.8000" in lines
    assert lines[-1] == "3: Bob [8:11] | Founded | Acme [0:4] | 0.8000"
    assert run([*command, "--data", str(data), "--data.columns.text", "body", "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [sorted(one) for one in records] == [["entities", "text", "triples"]] * 3
    assert records[2]["triples"][0]["head"] == {"text": "Bob", "start": 8, "end": 11, "label": "PER", "score": 0.9}


def test_the_command_reads_lines(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    made = dict(zip(("ner", "re"), runs(), strict=True))
    monkeypatch.setattr(Predictor, "load", classmethod(lambda cls, name, **_: made[name]))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Bob founded Acme.\r\n\nAcme by Ann\n")))
    assert run(["extract", "ner", "re", "-"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1: Bob [0:3] | Founded | Acme [12:16] | 0.8000",
        "3: Ann [8:11] | Founded | Acme [0:4] | 0.8000",
    ]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Bob\n\xff\n")))
    assert run(["extract", "ner", "re", "-"]) == 3
    assert "standard input, line 2: not UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--text", "a", "-"], ["--text", "a", "--data.format", "csv"]])
def test_the_command_wants_one_source(arguments: list[str], capsys: Any) -> None:
    assert run(["extract", "ner", "re", *arguments]) == 2
    assert "--data FILE" in capsys.readouterr().err
