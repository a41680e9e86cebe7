from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
predict = importlib.import_module("predict")

FACTS = {"rows": 2, "tokens": 1234, "tokens_lost": 5, "max_length": 128}


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Replace the processes by a list of what they were asked for."""
    asked: list[tuple[str, str]] = []

    def run_process(job: dict[str, Any], folder: Path, script: Path) -> dict[str, Any] | None:
        assert script.name == "predict.py"
        asked.append((job.get("set", ""), job["kind"]))
        if job["kind"] == "train":
            (Path(job["run"]) / "model").mkdir(parents=True)
            return {}
        if asked.count(("imdb", "headway")) == 1 and asked[-1] == ("imdb", "headway"):
            return None
        share = 0.5 if job["kind"] == "headway" else 0.75
        return {
            "sentences_per_second": 10.0,
            "sentences_per_cpu_second": 60.0 if job["kind"] == "headway" else 20.0,
            "processors_of_others": 0.0,
            "answers": [{"a": share, "b": 1 - share}, {"a": 0.25, "b": 0.75}],
            "facts": FACTS,
        }

    monkeypatch.setattr(predict, "run_process", run_process)
    return asked


def arguments(tmp_path: Path, *more: str) -> list[str]:
    chosen = ["--data", str(tmp_path), "--variants", "pipeline-1,headway", "--output", str(tmp_path / "out")]
    return [*chosen, "--threads", "1", *more]


def test_what_is_measured_is_kept_and_what_failed_is_repeated(
    jobs: list[tuple[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = arguments(tmp_path, "--repeats", "1")
    assert predict.main(command) == 1
    assert "FAILED: imdb, headway, repeat 0" in capsys.readouterr().err
    sets = ("sst2", "imdb")
    assert jobs[:2] == [(name, "train") for name in sets]
    assert jobs[2:] == [(name, one) for name in sets for one in ("pipeline-1", "headway")]
    assert predict.main(command) == 0
    assert jobs[6:] == [("imdb", "headway")]
    assert predict.main(arguments(tmp_path, "--repeats", "2", "--sets", "sst2")) == 0
    assert jobs[7:] == [("sst2", "headway"), ("sst2", "pipeline-1")]
    held = json.loads((tmp_path / "out/results.json").read_text())
    assert len(held["measurements"]) == 6
    assert len(held["commands"]) == 3


def test_the_table_says_how_fast_and_how_equal(
    jobs: list[tuple[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict.main(arguments(tmp_path, "--sets", "sst2", "--repeats", "1"))
    text = capsys.readouterr().out
    assert "## sst2: 2 texts, 1,234 tokens, cut at 128, 5 tokens lost" in text
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert rows[2:] == [
        ["pipeline-1", "10.0", "20.0", "1.00", "-", "100.00%", "0.0e+00"],
        ["headway", "10.0", "60.0", "3.00", "-", "100.00%", "2.5e-01"],
    ]


def test_several_threads_are_compared_by_the_clock_on_the_wall() -> None:
    one = {"set": "sst2", "seed": 0, "processors_of_others": 0.5, "equal_labels": None, "largest_difference": None}
    found = [
        {**one, "variant": "pipeline-32", "sentences_per_second": 5.0, "sentences_per_cpu_second": 5.0},
        {**one, "variant": "headway", "sentences_per_second": 20.0, "sentences_per_cpu_second": 10.0},
    ]
    results = {"commands": [], "machine": {}, "versions": {}, "sets": {"sst2": FACTS}, "measurements": found}
    assert "4.00" in predict.summary({**results, "settings": {"threads": 2}})
    alone = predict.summary({**results, "settings": {"threads": 1}})
    assert "2.00" in alone
    assert "4.00" not in alone
    assert "Not alone on the machine" in alone


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--threads", "0"], "at least 1"),
        (["--variants", "pipeline"], "'pipeline'"),
        (["--data", "no/such/folder"], "HEADWAY_TEST_DATA"),
        (["--threads", "2"], "other settings"),
    ],
)
def test_mistakes_are_named(
    more: list[str],
    message: str,
    jobs: list[tuple[str, str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    predict.main(arguments(tmp_path, "--sets", "sst2"))
    with pytest.raises(SystemExit) as stop:
        predict.main(arguments(tmp_path, *more))
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_run_without_a_model_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict.main(arguments(tmp_path, "--run", str(tmp_path / "absent"))) == 1
    assert "absent holds no finished run" in capsys.readouterr().err


def test_all_variants_answer_the_same_texts_alike(finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / "sst2").mkdir()
    words = ("good", "bad", "dull", "lovely")
    lines = [f"the film was {words[n % 4]}{' very' * (n % 9)}\t{n % 2}" for n in range(40)]
    (tmp_path / "sst2/test.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    job = {"run": str(finished_run), "data": str(tmp_path), "set": "sst2", "max_rows": 20}
    found = {
        name: predict.predict({**job, "kind": name}) for name in ("pipeline-1", "pipeline-32", "headway", "headway-1")
    }
    assert {one["facts"]["rows"] for one in found.values()} == {20}
    for one in found.values():
        assert one["sentences_per_second"] > 0
        for answer, expected in zip(one["answers"], found["pipeline-1"]["answers"], strict=True):
            assert answer == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_a_model_is_trained_where_there_is_none(tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "sst2").mkdir()
    for name in ("train", "dev"):
        lines = [f"a {'bad' if n % 2 else 'good'} film {n}\t{n % 2}" for n in range(40)]
        (tmp_path / f"sst2/{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    predict.train({"set": "sst2", "run": str(tmp_path / "run"), "data": str(tmp_path), "model": str(tiny_bert)})
    assert (tmp_path / "run/model/headway.json").is_file()


@pytest.mark.parametrize("variant", predict.LEVERS)
def test_a_lever_is_off_in_a_copy_of_the_model(variant: str, tmp_path: Path) -> None:
    from headway.models.options import ModelOptions

    lever = predict.LEVERS[variant]
    assert ModelOptions.model_fields[lever].default is True
    (tmp_path / "run/model").mkdir(parents=True)
    held = tmp_path / "run/model/headway.json"
    held.write_text('{"kind": "sequence-classification", "packing": true}')
    copied = predict._without(lever, {"run": str(tmp_path / "run"), "result": str(tmp_path / "job/result.json")})
    assert json.loads((copied / "headway.json").read_text())[lever] is False
    assert json.loads((copied / "headway.json").read_text())["kind"] == "sequence-classification"
    assert json.loads(held.read_text())["packing"] is True
