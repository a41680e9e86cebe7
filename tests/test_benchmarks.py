from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from headway.recipe import Recipe

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
train, summary, measurement, classifier, study, levers = map(
    importlib.import_module, ("train", "summary", "measurement", "classifier", "study", "levers")
)


def found(variant: str = "headway", seed: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "set": "sst2",
        "seed": seed,
        "variant": variant,
        "sequences_per_second": 200.0,
        "training_seconds": 10.0,
        "startup_seconds": 5.0,
        "wall_seconds": 30.0,
        "training_memory_mb": 1000.0,
        "memory_mb": 1500.0,
        "processors_of_others": 0.0,
        "train_tokens": 50_000,
        "steps": 651,
        "precision": "bf16-mixed",
        "metrics": {"validation": {"accuracy": 0.9, "mcc": 0.8}},
        **changes,
    }


FACTS = {
    "rows": {"train": 6920, "validation": 872},
    "epochs": 3,
    "batch_size": 32,
    "learning_rate": 5e-5,
    "max_length": 128,
    "flops_per_token": [60e6, 10e3],
    "peak_flops": 2e12,
}


# --- the command line -------------------------------------------------------------------------------------------------


def test_arguments_are_parsed() -> None:
    options = train.build_parser().parse_args(
        ["--data", "d", "--sets", "sst2,stsb", "--seeds", "3,1", "--variants", "trainer", "--epochs", "1"]
    )
    assert (options.data, options.sets, options.seeds) == (Path("d"), ("sst2", "stsb"), (3, 1))
    assert (options.variants, options.epochs, options.max_train_rows) == (("trainer",), 1, None)


def test_the_data_folder_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWAY_TEST_DATA", "somewhere")
    options = train.build_parser().parse_args([])
    assert options.data == Path("somewhere")
    assert (options.sets, options.seeds, options.variants) == (train.SETS, (0, 1, 2), train.VARIANTS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sets", "sst2,stts"], "'stts'"),
        (["--variants", "lightning"], "'lightning'"),
        (["--seeds", "1,1"], "stands twice"),
        (["--epochs", "0"], "at least 1"),
        (["--max_train_rows", "-5"], "at least 1"),
        (["--data", "no/such/folder"], "no folder"),
        ([], "HEADWAY_TEST_DATA"),
    ],
)
def test_mistakes_are_named(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HEADWAY_TEST_DATA", raising=False)
    with pytest.raises(SystemExit) as stop:
        train.main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_each_seed_begins_with_another_variant() -> None:
    order = list(train.measurements(["a", "b"], [7, 8], ["x", "y", "z"]))
    assert [variant for name, seed, variant in order if (name, seed) == ("a", 7)] == ["x", "y", "z"]
    assert [variant for name, seed, variant in order if (name, seed) == ("a", 8)] == ["y", "z", "x"]
    assert [name for name, _, _ in order] == ["a"] * 6 + ["b"] * 6
    assert len(set(order)) == 12


@pytest.mark.parametrize("name", levers.LEVERS)
def test_every_lever_changes_a_recipe(name: str) -> None:
    options = levers.LEVERS[name]
    plain, changed = (Recipe.load(BENCHMARKS / "recipes" / "sst2.yaml", one) for one in ({}, options))
    assert changed != plain
    assert len(options) == (5 if name == "headway-without-all-five" else 1)


def test_the_share_of_the_peak() -> None:
    class Config:
        hidden_size, intermediate_size, num_hidden_layers = 384, 1536, 6

    # 4 x 384 x 384 + 2 x 384 x 1536 weights in each of 6 layers, and 2 x 384 x 20 for the products of attention.
    assert levers.flops_per_token(Config, 20) == 6 * 6 * (1_769_472 + 15_360)
    # 50,000 tokens in 6,920 rows, three times, in ten seconds.
    expected = 150_000 * (60e6 + 10e3 * 50_000 / 6920) / 10 / 2e12
    assert summary.share_of_peak(found(), FACTS) == pytest.approx(expected)
    assert levers.peak_flops(torch.float32, seconds=0.0) > 1e8


def test_every_set_has_a_recipe_that_reads_and_metrics_to_show() -> None:
    from headway.recipe import Recipe

    assert set(summary.SHOWN_METRICS) == set(train.SETS)
    for name in train.SETS:
        recipe = Recipe.load(train.RECIPES / f"{name}.yaml")
        assert recipe.data.validation is not None or recipe.data.test is not None


# --- the results file -------------------------------------------------------------------------------------------------


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Replace the processes by a list of what they were asked for."""
    asked: list[tuple[str, int]] = []

    def run_process(job: dict[str, Any], folder: Path) -> dict[str, Any] | None:
        if job["kind"] == "prepare":
            return dict(FACTS)
        asked.append((job["kind"], job["seed"]))
        if (job["kind"], job["seed"]) == ("trainer", 1) and asked.count(("trainer", 1)) == 1:
            return None
        return {key: value for key, value in found().items() if key not in ("set", "seed", "variant")}

    monkeypatch.setattr(train, "run_process", run_process)
    return asked


def test_a_failed_measurement_is_named_and_repeated_by_resume(
    jobs: list[tuple[str, int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "results.json"
    arguments = ["--data", str(tmp_path), "--sets", "sst2", "--seeds", "0,1", "--variants", "headway,trainer"]
    arguments += ["--output", str(output)]
    assert train.main(arguments) == 1
    assert "FAILED: sst2, seed 1, trainer" in capsys.readouterr().err
    assert jobs == [("headway", 0), ("trainer", 0), ("trainer", 1), ("headway", 1)]
    assert len(json.loads(output.read_text())["measurements"]) == 3

    jobs.append(("trainer", 1))  # counted as tried already
    assert train.main([*arguments, "--resume"]) == 0
    assert jobs[5:] == [("trainer", 1)]
    held = json.loads(output.read_text())
    assert len(held["measurements"]) == 4
    assert len(held["commands"]) == 2


def test_results_are_saved_after_each_measurement(
    jobs: list[tuple[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []
    monkeypatch.setattr(train, "save", lambda path, results: lengths.append(len(results["measurements"])))
    train.main(["--data", str(tmp_path), "--sets", "sst2", "--seeds", "0", "--output", str(tmp_path / "r.json")])
    assert lengths == [1, 2, 3]


@pytest.mark.parametrize(("more", "message"), [([], "Add --resume"), (["--resume", "--epochs", "2"], "other settings")])
def test_results_are_neither_overwritten_nor_mixed(
    more: list[str],
    message: str,
    jobs: list[tuple[str, int]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--data", str(tmp_path), "--sets", "sst2", "--seeds", "0", "--output", str(tmp_path / "r.json")]
    train.main(arguments)
    before = (tmp_path / "r.json").read_bytes()
    with pytest.raises(SystemExit) as stop:
        train.main([*arguments, *more])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert (tmp_path / "r.json").read_bytes() == before


# --- the tables -------------------------------------------------------------------------------------------------------


def test_speed_is_a_median_with_its_range_and_quality_a_mean_with_its_deviation() -> None:
    assert summary.spread([3.0, 1.0, 2.5], digits=1) == "2.5 (1.0-3.0)"
    assert summary.spread([1234.5], digits=0) == "1,234"
    assert summary.mean_and_deviation([0.8, 0.9]) == "0.8500 ± 0.0707"
    assert summary.mean_and_deviation([0.8]) == "0.8000"


def test_speed_is_compared_within_a_seed() -> None:
    ours = [found(seed=0, sequences_per_second=200.0), found(seed=1, sequences_per_second=300.0)]
    theirs = [found("trainer", seed=0, sequences_per_second=100.0), found("trainer", seed=1, sequences_per_second=50.0)]
    assert summary.ratio(ours, ours + theirs) == "4.00 (2.00-6.00)"
    assert summary.ratio(ours, ours) == "-"


def test_cells_are_aligned() -> None:
    lines = summary.aligned([["variant", "s"], ["headway", "12.5"]])
    assert lines == ["| variant |    s |", "| ------- | ---: |", "| headway | 12.5 |"]


def test_the_summary_says_where_its_numbers_come_from() -> None:
    text = summary.summary(
        {
            "commands": ["python benchmarks/train.py --sets sst2"],
            "settings": {},
            "versions": {"torch": "2.13.0", "datasets": None},
            "machine": {"cpus": 2, "threads_asked_for": None},
            "sets": {"sst2": FACTS},
            "measurements": [found("trainer", processors_of_others=0.8), found()],
        }
    )
    assert "    python benchmarks/train.py --sets sst2" in text
    assert "Machine: cpus 2\nVersions: torch 2.13.0\n" in text
    assert "## sst2: train 6,920, validation 872 rows; 3 epochs, batch 32" in text
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert [line.split()[1] for line in table] == ["variant", "-------", "headway", "trainer"]
    assert "validation accuracy" in table[0]
    assert "validation mcc" not in table[0]
    assert text.endswith("- sst2, seed 0, trainer: others used 0.80 CPUs")


@pytest.mark.parametrize("changes", [{"train_tokens": 50_001}, {"steps": 650}])
def test_variants_that_did_not_do_the_same_work_are_not_compared_silently(changes: dict[str, int]) -> None:
    results = {"commands": [], "versions": {}, "machine": {}, "sets": {"sst2": FACTS}}
    assert "NOT COMPARABLE" not in summary.summary({**results, "measurements": [found(), found("trainer")]})
    assert "NOT COMPARABLE" in summary.summary({**results, "measurements": [found(), found("trainer", **changes)]})


# --- one measurement --------------------------------------------------------------------------------------------------


def test_targets_are_those_of_the_losses() -> None:
    targets = classifier._targets
    assert targets(["b", "a"], labels=["a", "b"], problem_type="single_label_classification") == [1, 0]
    assert targets(["2.5"], labels=[], problem_type="regression") == [2.5]
    assert targets([["b"], []], labels=["a", "b"], problem_type="multi_label_classification") == [[0, 1], [0, 0]]


def test_the_clock_runs_from_the_first_step_to_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([100.0, 101.0, 104.0])
    monkeypatch.setattr(measurement.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(measurement.time, "time", lambda: 1007.0)
    others = iter([50.0, 51.0, 52.0])
    monkeypatch.setattr(measurement, "seconds_of_others", lambda: next(others))
    clock = measurement.Clock(started=1000.0)
    for _ in range(2):
        clock.begin_step()
        clock.end_step()
    facts = clock.facts(num_rows=60, epochs=2)
    assert (facts["startup_seconds"], facts["training_seconds"], facts["steps"]) == (7.0, 4.0, 2)
    assert facts["sequences_per_second"] == 30.0
    assert facts["processors_of_others"] == 0.5
    assert facts["memory_mb"] >= facts["training_memory_mb"] > 1


@pytest.mark.slow
def test_all_variants_see_the_same_tokens_and_are_scored_on_the_same_rows(tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "stsb").mkdir()
    for number, name in enumerate(("train", "dev", "test")):
        rows = [f"a good film {i},a {'bad' if i % 3 else 'good'} film,{i % 6 + number / 2}" for i in range(40)]
        (tmp_path / "stsb" / f"stsb-en-{name}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    output = tmp_path / "results.json"
    command = [sys.executable, str(BENCHMARKS / "train.py"), "--data", str(tmp_path), "--sets", "stsb", "--seeds", "0"]
    command += ["--epochs", "2", "--max_train_rows", "36", "--model", str(tiny_bert), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "## stsb: train 36, validation 40, test 40 rows; 2 epochs" in done.stdout
    measured = json.loads(output.read_text(encoding="utf-8"))["measurements"]
    assert [one["variant"] for one in measured] == ["headway", "trainer", "trainer-tuned"]
    assert len({one["train_tokens"] for one in measured}) == 1
    for one in measured:
        assert one["steps"] == 4
        assert set(one["metrics"]) == {"validation", "test"}
        assert 0 < one["startup_seconds"] < one["startup_seconds"] + one["training_seconds"] < one["wall_seconds"]
        assert 100 < one["training_memory_mb"] <= one["memory_mb"]


@pytest.mark.slow
def test_the_trainer_learns_any_task_from_the_same_features(tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "wnut17").mkdir()
    sentences = ["the\tO\nold\tB-person\nfilm\tI-person\n", "a\tO\ngood\tB-product\nday\tO\n"] * 12
    for name in ("wnut17train", "emerging.dev", "emerging.test"):
        (tmp_path / "wnut17" / f"{name}.conll").write_text("\n".join(sentences), encoding="utf-8")
    output = tmp_path / "results.json"
    command = [sys.executable, str(BENCHMARKS / "train.py"), "--data", str(tmp_path), "--sets", "wnut17"]
    command += ["--seeds", "0", "--variants", "headway,trainer", "--epochs", "2", "--model", str(tiny_bert)]
    done = subprocess.run([*command, "--output", str(output)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ours, theirs = json.loads(output.read_text(encoding="utf-8"))["measurements"]
    for name in ("steps", "train_tokens"):
        assert ours[name] == theirs[name] > 0
    assert ours["metrics"]["test"].keys() == theirs["metrics"]["test"].keys()
    assert "NOT COMPARABLE" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", train.SETS)
def test_a_part_of_every_set_can_be_trained_on(name: str, shared_data: Path, tiny_bert: Path, tmp_path: Path) -> None:
    from headway.models.backbone import load_backbone
    from headway.preparation import prepare, read_tables
    from headway.recipe import Recipe

    job = {"prepared": tmp_path, "recipe": BENCHMARKS / "recipes" / f"{name}.yaml", "data": shared_data, "epochs": 1}
    facts = measurement.prepare(
        job | {"model": str(tiny_bert), "max_steps": None, "max_train_rows": 80, "max_evaluation_rows": 40}
    )
    recipe = Recipe.load(tmp_path / "recipe.yaml")
    prepared = prepare(recipe, read_tables(recipe), load_backbone(recipe.model).tokenizer)
    assert facts["rows"].keys() == prepared.features.keys() > {"train"}
    assert all(len(features) for features in prepared.features.values())
    assert prepared.task == recipe.task


# --- studies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", study.STUDIES)
def test_every_variant_of_a_study_is_a_recipe(name: str, tmp_path: Path) -> None:
    content = study.yaml.safe_load((BENCHMARKS / "studies" / f"{name}.yaml").read_text())
    assert content["about"].strip()
    for one in content["sets"]:
        for variant in content["variants"]:
            if content["sets"][one].get(variant, {}) is not None:
                job = study.job_of(content, one, 0, variant, output=tmp_path, data=tmp_path)
                assert Recipe.load(job["recipe"], job["overrides"])
                assert "<" not in json.dumps(job["overrides"])


def test_a_study_trains_each_variant_and_goes_on_where_it_stopped(
    reviews_csv: Path,
    tiny_bert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipes = tmp_path / "benchmarks"
    (recipes / "recipes").mkdir(parents=True)
    (recipes / "recipes/films.yaml").write_text(
        "task: text-classification\ndata: {train: reviews.csv, validation: 0.2}\n"
    )
    common = {"model.model_name_or_path": str(tiny_bert), "training.max_steps": 2, "training.baselines": False}
    content = {
        "about": "Two ways.",
        "first": {"set": "films", "options": {"model.model_name_or_path": str(tiny_bert), "training.max_steps": 1}},
        "sets": {"films": {"left out": None}},
        "metrics": ["accuracy"],
        "seeds": [0],
        "max_train_rows": 16,
        "common": common,
        "variants": {
            "whole": {},
            "taught": {"optimization.distillation": {"teacher": "<whole>"}},
            "after": {"model.model_name_or_path": "<first>"},
            "left out": {},
        },
    }
    monkeypatch.setattr(study, "HERE", recipes)
    options = study.build_parser().parse_args(["--data", str(reviews_csv.parent), "--output", str(tmp_path / "out")])
    results: dict[str, Any] = {"commands": ["it"], "study": content, "measurements": []}
    assert study.measure_all(content, results, options) == []
    assert [one["variant"] for one in results["measurements"]] == ["whole", "taught", "after"]
    assert Recipe.load(tmp_path / "out/films/0/after/run/recipe.yaml").model.model_name_or_path == str(
        tmp_path / "out/first/run/model"
    )
    assert study.measure_all(content, results, options) == []
    assert len(results["measurements"]) == 3, "what is measured is not measured again"
    text = study.summary(results)
    assert "| taught | 0." in text
    assert "left out" not in text
    kept = Recipe.load(tmp_path / "out/films/0/taught/run/recipe.yaml")
    assert kept.data.train == str(tmp_path / "out/films/0/taught/train.jsonl")


def test_a_metric_that_a_variant_lacks_leaves_its_cell_empty() -> None:
    assert study.mean([None, None]) == ""
    assert study.mean([0.5]) == "0.5000"
    assert study.mean([0.5, 0.7]) == "0.6000 ± 0.1414"
