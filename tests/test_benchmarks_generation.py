from __future__ import annotations

import gzip
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headway.recipe import Recipe

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
train, summary, measurement, generation = map(
    importlib.import_module, ("train", "summary", "measurement", "generation")
)

SETS = ("scitldr", "dialogsum", "multi30k")
FACTS = {
    "rows": {"train": 1992, "validation": 619, "test": 100},
    "epochs": 3,
    "max_steps": 120,
    "batch_size": 16,
    "learning_rate": 2e-4,
    "max_length": 384,
    "max_target_length": 64,
    "baselines": {"lead_3": {"test": {"rouge1": 0.3, "rouge2": 0.1, "rougeL": 0.2}}},
}


def written(precision: str, rate: float, score: float = 0.25) -> dict[str, Any]:
    return {
        "precision": precision,
        "sequences_per_second": rate / 2,
        "sequences_per_cpu_second": rate,
        "tokens": 2500,
        "metrics": {"rouge1": score, "rouge2": score / 4, "rougeL": score / 2},
    }


def found(variant: str, *texts: dict[str, Any], seed: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "set": "scitldr",
        "seed": seed,
        "variant": variant,
        "epochs": 0.96,
        "sequences_per_second": 5.0,
        "sequences_per_cpu_second": 10.0,
        "training_seconds": 10.0,
        "startup_seconds": 5.0,
        "wall_seconds": 30.0,
        "training_memory_mb": 1000.0,
        "memory_mb": 1500.0,
        "processors_of_others": 0.0,
        "threads": 1,
        "train_tokens": 50_000,
        "target_tokens": 5_000,
        "steps": 120,
        "precision": "bf16-mixed",
        "losses": [[step, 10.0 - step / 20] for step in range(10, 121, 10)],
        "generation": list(texts),
        "metrics": {"test": texts[0]["metrics"]},
        **changes,
    }


def report(*measurements: dict[str, Any]) -> str:
    results = {"commands": [], "versions": {}, "machine": {}, "sets": {"scitldr": FACTS}}
    text: str = summary.summary({**results, "measurements": measurements})
    return text


def rows_of(text: str, *, title: str) -> list[list[str]]:
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {title}"))
    table = lines[start : lines.index("", start)]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table if "---" not in line]


OURS = found("headway", written("float32", 20.0, 0.25), written("bfloat16", 40.0, 0.24))
THEIRS = found("trainer", written("float32", 10.0, 0.26), sequences_per_cpu_second=4.0)
TUNED = found("trainer-tuned", written("bfloat16", 16.0, 0.23))


# --- the tables -------------------------------------------------------------------------------------------------------


def test_texts_have_a_table_of_their_own_that_ends_with_the_simple_methods() -> None:
    text = report(OURS, THEIRS, TUNED)
    assert "120 steps, batch 16, learning rate 0.0002, up to 384 tokens, 64 of them written; seeds 0" in text
    title, *rows = rows_of(text, title="written by")
    assert title[1:7] == ["texts/s", "texts/CPU s", "x trainer", "x trainer-tuned", "tokens/CPU s", "tokens a text"]
    assert rows == [
        ["headway, bfloat16", "20.00", "40.00", "4.00", "2.50", "1,000", "25.0", "0.2400", "0.0600", "0.1200"],
        ["headway, float32", "10.00", "20.00", "2.00", "1.25", "500", "25.0", "0.2500", "0.0625", "0.1250"],
        ["trainer, float32", "5.00", "10.00", "1.00", "0.62", "250", "25.0", "0.2600", "0.0650", "0.1300"],
        ["trainer-tuned, bfloat16", "8.00", "16.00", "1.60", "1.00", "400", "25.0", "0.2300", "0.0575", "0.1150"],
        ["lead_3", "-", "-", "-", "-", "-", "-", "0.3000", "0.1000", "0.2000"],
    ]


def test_one_thread_is_compared_by_processor_time_and_several_by_the_clock() -> None:
    title, ours, *_ = rows_of(report(OURS, THEIRS), title="variant")
    assert dict(zip(title, ours, strict=True))["x trainer, CPU s"] == "2.50"
    several = [
        {**one, "threads": 2}
        for one in (OURS, found("trainer", {**THEIRS["generation"][0], "sequences_per_second": 2.0}))
    ]
    assert "CPU s" not in rows_of(report(*several), title="variant")[0]
    assert rows_of(report(*several), title="written by")[1][3] == "10.00"


def test_only_splits_that_all_have_are_shown() -> None:
    more = found("headway", written("float32", 1.0), metrics={"validation": {}, "test": written("", 1.0)["metrics"]})
    title = rows_of(report(more, THEIRS), title="variant")[0]
    assert "test rouge1" in title
    assert not [one for one in title if one.startswith("validation")]


def test_losses_are_shown_at_the_steps_that_all_seeds_have() -> None:
    other = found("headway", written("float32", 1.0), seed=1, losses=[[10, 5.5], [60, 4.0]])
    assert "- training loss by step, headway: 10: 7.500, 60: 5.500" in report(OURS, other)
    assert "- training loss by step, trainer: 10: 9.500, 30: 8.500," in report(THEIRS)
    assert "- training loss by step, trainer: \n" in report(found("trainer", written("", 1.0), losses=[]))


@pytest.mark.parametrize("name", ["train_tokens", "target_tokens", "steps"])
def test_unequal_work_is_named(name: str) -> None:
    assert "NOT COMPARABLE" not in report(OURS, THEIRS)
    assert "NOT COMPARABLE" in report(OURS, {**THEIRS, name: 1})


# --- what is measured -------------------------------------------------------------------------------------------------


def test_steps_become_passes_over_the_rows() -> None:
    training = {"max_steps": 30, "num_train_epochs": 3, "per_device_train_batch_size": 8}
    assert measurement.passes(30, 100, training) == pytest.approx(30 / 13)
    assert measurement.passes(30, 100, {**training, "max_steps": -1}) == 3.0


def test_steps_are_a_setting_that_resume_keeps_to() -> None:
    options = train.build_parser().parse_args(["--data", "d", "--sets", "multi30k", "--max_steps", "50"])
    assert options.max_steps == 50
    assert "max_steps" in train.SETTINGS


@pytest.mark.parametrize("name", SETS)
def test_the_recipes_write_texts_for_the_test_rows(name: str) -> None:
    recipe = Recipe.load(train.RECIPES / f"{name}.yaml")
    assert recipe.task.generates
    assert recipe.data.test is not None
    assert recipe.task.max_target_length < recipe.data.max_length or name == "multi30k"


def test_texts_are_timed_and_their_tokens_counted() -> None:
    def tokenizer(texts: list[str], **_: Any) -> dict[str, list[list[str]]]:
        return {"input_ids": [text.split() for text in texts]}

    timed = generation.Stopwatch()
    with timed.run():
        sum(range(100_000))
    facts = timed.facts(["one two", "", "three"], tokenizer)
    assert facts["tokens"] == 3
    assert facts["sequences_per_second"] == 3 / timed.seconds
    assert facts["sequences_per_cpu_second"] == 3 / timed.cpu_seconds


def write_scitldr(folder: Path) -> None:
    folder.mkdir()
    sentences = ["the old film was good.", "it was not a bad book.", "we liked the green garden.", "he hated the song."]
    for name, count in (("train", 1), ("dev", 2), ("test", 3)):
        rows = [
            {"source": [sentences[(n + k) % 4] for k in range(3 + n % 2)], "target": [sentences[n % 4]] * count}
            for n in range(12)
        ]
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.slow
def test_an_encoder_learns_to_write_by_either_library(tiny_bert: Path, tmp_path: Path) -> None:
    write_scitldr(tmp_path / "scitldr")
    output = tmp_path / "results.json"
    command = [sys.executable, str(BENCHMARKS / "train.py"), "--data", str(tmp_path), "--sets", "scitldr"]
    command += ["--seeds", "0", "--max_steps", "3", "--max_evaluation_rows", "6", "--model", str(tiny_bert)]
    done = subprocess.run([*command, "--output", str(output)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "NOT COMPARABLE" not in done.stdout
    measured = json.loads(output.read_text(encoding="utf-8"))["measurements"]
    assert [one["variant"] for one in measured] == ["headway", "trainer", "trainer-tuned"]
    assert len({(one["train_tokens"], one["target_tokens"]) for one in measured}) == 1
    for one in measured:
        assert (one["steps"], one["epochs"]) == (3, 3.0)
        assert [step for step, _ in one["losses"]] == ([3] if one["variant"] == "headway" else [])
        assert one["metrics"]["test"] == one["generation"][0]["metrics"]
        assert {"rouge1", "bleu", "copy_rate"} < set(one["metrics"]["test"])
        assert all(text["sequences_per_second"] > 0 for text in one["generation"])
