from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headway.recipe import Recipe

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
speed, levers, train, growth, trainer_loop = map(
    importlib.import_module, ("speed", "levers", "train", "growth", "trainer_loop")
)

FACTS = {
    "rows": {"train": 1000}, "epochs": 1, "batch_size": 32, "learning_rate": 5e-5, "max_length": 128,
    "flops_per_token": [60e6, 10e3], "peak_flops": 2e12,
}  # fmt: skip

GROWN = ("tokenizer_alone", "tokenizer_together", "reading", "tokenising", "from_the_cache", "training")


def measured(variant: str, seed: int, rate: float, **changes: Any) -> dict[str, Any]:
    return {
        "set": "sst2", "seed": seed, "variant": variant, "sequences_per_second": rate, "training_seconds": 10.0,
        "wall_seconds": 20.0, "training_memory_mb": 900.0, "memory_mb": 1000.0, "processors_of_others": 0.0,
        "train_tokens": 20_000, "metrics": {"test": {"accuracy": 0.75}}, **changes,
    }  # fmt: skip


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replace everything that computes by a list of what it was asked for."""
    seen: list[Any] = []

    def run_process(job: dict[str, Any], folder: Path, script: Path) -> dict[str, Any] | None:
        seen.append((script.stem, job["kind"], job.get("rows"), "cache" in job))
        if seen.count(("first_step", "trainer", None, True)) == 2:
            return None
        found = {"cpu_seconds": 4.0, "seconds": 4.5, "memory_mb": 500.0, "rows": job.get("rows"), "tokens": 9}
        return found | dict.fromkeys(GROWN, 2e-6)

    def command(name: str) -> Any:
        def run(words: list[str]) -> int:
            seen.append((name, *words))
            sys.stdout.write(f"the tables of {name}\n")
            return 0

        return run

    monkeypatch.setattr(train, "run_process", run_process)
    monkeypatch.setattr(speed.train, "main", command("train"))
    monkeypatch.setattr(speed.predict, "main", command("predict"))
    return seen


def arguments(tmp_path: Path, *more: str) -> list[str]:
    return ["--data", str(tmp_path), "--output", str(tmp_path / "out"), *more]


def test_each_part_of_a_training_is_a_call_of_its_benchmark(
    asked: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = arguments(tmp_path, "--parts", "movie_reviews,frozen", "--rows", "frozen=50", "--seeds", "1,2")
    assert speed.main(chosen) == 0
    first, second = (dict(zip(words[1:-1:2], words[2:-1:2], strict=True)) for words in asked)
    assert [words[-1] for words in asked] == ["--resume"] * 2
    assert (first["--sets"], first["--max_length"], first["--epochs"]) == ("movie_reviews", "512", "1")
    assert first["--variants"] == "headway,trainer-tuned"
    assert (second["--max_train_rows"], second["--seeds"], second["--epochs"]) == ("50", "1,2", "3")
    assert "--max_length" not in second
    assert second["--variants"] == "headway-frozen,trainer-frozen,headway-frozen-second-head"
    assert (tmp_path / "out/frozen.md").read_text() == "the tables of train\n"
    assert "the tables of" not in capsys.readouterr().out


@pytest.mark.parametrize("name", speed.PARTS)
def test_what_is_asked_for_exists(name: str) -> None:
    part = speed.PARTS[name]
    parser = train.build_parser()
    parsed = parser.parse_args(["--sets", ",".join(part.sets), "--variants", ",".join(part.variants)])
    assert parsed.variants == part.variants
    assert all(line.at_least < line.aim for line in part.lines)


def test_prediction_takes_a_model_of_each_set(asked: list[Any], tmp_path: Path) -> None:
    speed.main(arguments(tmp_path, "--parts", "prediction", "--rows", "imdb_texts=7", "--seeds", "0,1"))
    first, second = (dict(zip(words[1::2], words[2::2], strict=True)) for words in asked)
    assert (first["--sets"], first["--max_rows"], first["--repeats"]) == ("sst2", "1821", "2")
    assert (second["--sets"], second["--max_rows"]) == ("imdb", "7")
    assert "--run" not in first | second


def test_what_failed_is_named_and_measured_by_the_next_call(
    asked: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = arguments(tmp_path, "--parts", "first_step", "--seeds", "0,1")
    assert speed.main(chosen) == 1
    assert "not all of it: first_step" in capsys.readouterr().err
    # Prepared, then once each with warm caches to come; each seed begins with the other one.
    assert [kind for _, kind, _, _ in asked] == ["prepare", "headway", "trainer", "headway", "trainer"]
    asked.append(("first_step", "trainer", None, True))  # counted as tried already
    assert speed.main(chosen) == 0
    assert [kind for _, kind, _, _ in asked[6:]] == ["prepare", "headway", "trainer", "trainer", "trainer", "headway"]
    number = len(asked)
    assert speed.main(chosen) == 0
    assert len(asked) == number
    assert "first step, processor time" in capsys.readouterr().out


def test_the_curve_goes_on_where_it_was_left(
    asked: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = arguments(tmp_path, "--parts", "growth", "--seeds", "0")
    assert speed.main([*chosen, "--growth", "10"]) == 0
    assert speed.main([*chosen, "--growth", "10,2000"]) == 0
    assert [rows for _, _, rows, _ in asked] == [10, 2000]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 2,000")]
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == ["2,000", "9", *["2.0"] * len(GROWN), "500"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--rows", "short"], "PART=NUMBER"),
        (["--rows", "shirt=5"], "PART=NUMBER"),
        (["--rows", "short=0"], "PART=NUMBER"),
        (["--parts", "all"], "'all'"),
        (["--growth", "0"], "at least 1"),
        (["--data", "no/such/folder"], "HEADWAY_TEST_DATA"),
    ],
)
def test_mistakes_are_named(more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        speed.main(arguments(tmp_path, *more))
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


# --- the printed form -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rates", "verdict"), [((3.0, 1.0), "NO"), ((4.0, 2.0), "yes"), ((9.0, 4.0), "aim")], ids=lambda one: str(one)
)
def test_ratios_are_taken_within_a_seed(rates: tuple[float, float], verdict: str) -> None:
    found = [measured("headway", seed, 10.0 * rate) for seed, rate in enumerate(rates)]
    found += [measured("trainer", seed, 10.0) for seed in (0, 1, 2)]
    line = speed.Line("headway", "trainer", 3.0, 6.0)
    row = speed.compared("work", line, found)
    assert row[:2] == ["work", "headway / trainer"]
    assert row[2] == f"{sum(rates) / 2:.2f} ({min(rates):.2f}-{max(rates):.2f})"
    assert row[-1] == verdict
    assert speed.compared("work", line, found[:1]) is None


@pytest.mark.parametrize(("seconds", "verdict"), [(5.0, "NO"), (4.0, "yes"), (2.0, "aim")])
def test_of_seconds_the_fewer_are_the_better(seconds: float, verdict: str) -> None:
    found = [{"variant": "headway", "seed": 0, "cpu_seconds": seconds}]
    found += [{"variant": "trainer", "seed": 0, "cpu_seconds": 4.0}]
    row = speed.compared("work", speed.FIRST_STEP[0], found)
    assert row[2:] == [f"{seconds / 4:.2f}", "at most 1.0", "at most 0.6", verdict]


def test_the_table_holds_everything_that_was_measured(tmp_path: Path) -> None:
    trained = [measured("headway", 0, 80.0, training_memory_mb=450.0), measured("trainer", 0, 20.0)]
    trained += [measured("trainer-tuned", 0, 50.0, processors_of_others=0.5)]
    held = {"machine": {"cpus": 2}, "versions": {}, "sets": {"sst2": FACTS}, "measurements": trained}
    (tmp_path / "short.json").write_text(json.dumps(held))
    predicted = [
        {"variant": name, "seed": 0, "sentences_per_second": rate, "sentences_per_cpu_second": 2 * rate + number}
        for number, (name, rate) in enumerate([("pipeline-32", 10.0), ("headway", 90.0)])
    ]
    for threads, expected in ((1, "9.05"), (2, "9.00")):
        (tmp_path / "prediction-imdb").mkdir(exist_ok=True)
        content = {"settings": {"threads": threads}, "measurements": predicted}
        (tmp_path / "prediction-imdb/results.json").write_text(json.dumps(content))
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in speed.table(tmp_path) if "|" in line]
        assert ["prediction, imdb", "headway / pipeline-32", expected, "5.0", "8.0", "aim"] in rows
    work = "sst2, 1,000 rows, up to 128 tokens, x 1"
    assert [work, "headway / trainer", "4.00", "3.5", "6.0", "yes"] in rows
    assert [work, "headway / trainer-tuned", "1.60", "1.4", "2.2", "yes"] in rows
    # 20,000 tokens in 10 seconds, each 60 MFLOP and 20 times 10 kFLOP, of 2 TFLOP/s.
    assert ["sst2", "headway", "6", "20"] in rows
    assert ["sst2, trainer-tuned", "while training", "450", "900", "0.50", "1.0", "0.8"] in rows
    assert ["sst2", "trainer", "20.0", "10.0", "20.0", "test accuracy 0.7500"] in rows
    text = "\n".join(speed.table(tmp_path))
    assert "Machine: {'cpus': 2}" in text
    assert "Other processes computed meanwhile" in text
    assert speed.table(tmp_path / "prediction-imdb")[-1].startswith("Median")


# --- what the processes do --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", levers.PARTLY)
def test_every_variant_that_freezes_is_a_recipe(name: str) -> None:
    recipe = Recipe.load(BENCHMARKS / "recipes/sst2.yaml", levers.PARTLY[name])
    assert recipe.model.asks_once or recipe.model.cache_frozen
    assert set(levers.AFTER) < set(levers.PARTLY)


def test_rows_are_repeated_and_yet_all_different(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("a\tgood\t1\nbad\t0\n", encoding="utf-8")
    growth.write_rows(tmp_path / "train.tsv", tmp_path / "rows.jsonl", 3)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert rows == [
        {"text": "0 a\tgood", "label": "1"}, {"text": "1 bad", "label": "0"}, {"text": "2 a\tgood", "label": "1"},
    ]  # fmt: skip


@pytest.mark.parametrize("next_sentence", [False, True])
def test_logits_at_all_positions_give_the_same_loss(next_sentence: bool, tiny_bert: Path) -> None:
    from headway.models.backbone import load_backbone
    from headway.models.losses import CrossEntropy
    from headway.models.options import ModelOptions
    from headway.tasks.base import Limits
    from headway.tasks.pretraining import Pretraining

    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert), dropout=0.0))
    task = Pretraining(next_sentence=next_sentence, mlm_probability=0.4)
    model = task.build_model(backbone).eval()
    rows = [
        {"text": text, "text_pair": "dull book" if next_sentence else None, "label": "1"}
        for text in ("a film", "the room was small")
    ]
    rows = [{name: value for name, value in row.items() if next_sentence or name == "text"} for row in rows]
    features = [
        task.refresh(one, backbone.tokenizer, np.random.default_rng(number))
        for number, row in enumerate(rows)
        for one in task.encode(row, backbone.tokenizer, Limits(max_length=32))
    ]
    batch = task.collate(features, backbone.tokenizer)
    with torch.no_grad():
        found = task.loss(trainer_loop.whole_logits(model, batch), batch, CrossEntropy())
        expected = task.loss(task.forward(model, batch), batch, CrossEntropy())
    torch.testing.assert_close(found, expected)


def write_sst2(folder: Path) -> None:
    (folder / "sst2").mkdir()
    for name in ("train", "dev", "test"):
        lines = [f"a {'bad' if n % 2 else 'good'} film{' very' * (n % 5)} {n}\t{n % 2}" for n in range(64)]
        (folder / f"sst2/{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.slow
def test_a_frozen_backbone_beside_the_trainer(tiny_bert: Path, tmp_path: Path) -> None:
    write_sst2(tmp_path)
    output = tmp_path / "results.json"
    variants = "headway-frozen,trainer-frozen,headway-frozen-second-head"
    words = ["--data", str(tmp_path), "--sets", "sst2", "--seeds", "0", "--variants", variants, "--epochs", "2"]
    assert train.main([*words, "--model", str(tiny_bert), "--max_length", "12", "--output", str(output)]) == 0
    held = json.loads(output.read_text(encoding="utf-8"))
    assert held["sets"]["sst2"]["max_length"] == 12
    assert {one["variant"] for one in held["measurements"]} == set(variants.split(","))
    assert len({(one["train_tokens"], one["steps"]) for one in held["measurements"]}) == 1


@pytest.mark.slow
def test_the_way_to_the_first_step_and_what_a_token_costs(tiny_bert: Path, tmp_path: Path) -> None:
    write_sst2(tmp_path)
    words = ["--data", str(tmp_path), "--parts", "first_step,growth", "--seeds", "0", "--growth", "640"]
    assert speed.main([*words, "--model", str(tiny_bert), "--output", str(tmp_path / "out")]) == 0
    first = json.loads((tmp_path / "out/first_step.json").read_text())["measurements"]
    assert [one["variant"] for one in first] == ["headway", "trainer"]
    assert all(one["cpu_seconds"] > 0 and one["memory_mb"] > 100 for one in first)
    (grown,) = json.loads((tmp_path / "out/growth.json").read_text())["measurements"]
    assert grown["rows"] == 640
    assert grown["tokens"] > 640
    assert min(grown[name] for name in GROWN) > 0
