"""The layout of each hub data set that a shipped recipe reads: columns, labels, a few rows.

Column names and label names, with their order, are those of the data set's page on the hub.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

ENTAILMENT = ("entailment", "neutral", "contradiction")
TWO_WAY = ("entailment", "not_entailment")
EMOTIONS = (
    "admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion", "curiosity", "desire",
    "disappointment", "disapproval", "disgust", "embarrassment", "excitement", "fear", "gratitude", "grief", "joy",
    "love", "nervousness", "optimism", "pride", "realization", "relief", "remorse", "sadness", "surprise", "neutral",
)  # fmt: skip

LAYOUTS: dict[str, tuple[tuple[str, ...], str, Any]] = {
    "nyu-mll/glue/sst2": (("sentence",), "label", ("negative", "positive")),
    "nyu-mll/glue/cola": (("sentence",), "label", ("unacceptable", "acceptable")),
    "nyu-mll/glue/mrpc": (("sentence1", "sentence2"), "label", ("not_equivalent", "equivalent")),
    "nyu-mll/glue/qqp": (("question1", "question2"), "label", ("not_duplicate", "duplicate")),
    "nyu-mll/glue/qnli": (("question", "sentence"), "label", TWO_WAY),
    "nyu-mll/glue/rte": (("sentence1", "sentence2"), "label", TWO_WAY),
    "nyu-mll/glue/mnli": (("premise", "hypothesis"), "label", ENTAILMENT),
    "nyu-mll/glue/stsb": (("sentence1", "sentence2"), "label", float),
    "stanfordnlp/imdb": (("text",), "label", ("neg", "pos")),
    "stanfordnlp/snli": (("premise", "hypothesis"), "label", ENTAILMENT),
    "fancyzhx/ag_news": (("text",), "label", ("World", "Sports", "Business", "Sci/Tech")),
    "mteb/banking77": (("text",), "label_text", str),
    "google-research-datasets/go_emotions/simplified": (("text",), "labels", [EMOTIONS]),
    "clinc/clinc_oos/plus": (("text",), "intent", ("restaurant_reviews", "nutrition_info", "oos")),
    "cardiffnlp/tweet_eval/emotion": (("text",), "label", ("anger", "joy", "optimism", "sadness")),
}
"""Data set -> columns of text, column of the label, and what that holds: names in their order, a list of several of
them, a number, or a word."""

WITH_UNLABELLED_ROWS = ("stanfordnlp/snli",)
NUM_ROWS = 32


def write(name: str, splits: Sequence[str], folder: Path) -> None:
    """Write a data set of ``NUM_ROWS`` made-up rows a split in the layout of the real one."""
    import datasets

    texts, label, kind = LAYOUTS[name]
    numbers = range(NUM_ROWS)
    if kind is float:
        feature, values = datasets.Value("float32"), [number % 11 / 2 for number in numbers]
    elif kind is str:
        feature, values = datasets.Value("string"), [("card_arrival", "lost_card")[number % 2] for number in numbers]
    elif isinstance(kind, list):
        feature = datasets.List(datasets.ClassLabel(names=list(kind[0])))
        values = [[number % len(kind[0]), *([27] if number % 5 == 0 else [])] for number in numbers]
    else:
        feature = datasets.ClassLabel(names=list(kind))
        values = [number % len(kind) for number in numbers]
        if name in WITH_UNLABELLED_ROWS:
            values[3] = -1
    features = datasets.Features({column: datasets.Value("string") for column in texts} | {label: feature})
    features["idx"] = datasets.Value("int32")
    rows = {
        split: datasets.Dataset.from_dict(
            {column: [f"{split} {column} is the {n} film" for n in numbers] for column in texts}
            | {label: values, "idx": list(numbers)},
            features=features,
        )
        for split in splits
    }
    datasets.DatasetDict(rows).save_to_disk(folder)


TEXTS: dict[str, dict[str, tuple[str, ...]]] = {
    "EdinburghNLP/xsum": {"document": (), "summary": (), "id": ()},
    "abisee/cnn_dailymail/3.0.0": {"article": (), "highlights": (), "id": ()},
    "wmt/wmt16/ro-en": {"translation": ("ro", "en")},
    "knkarthick/dialogsum": {"id": (), "dialogue": (), "summary": (), "topic": ()},
}
"""Data set of texts to be written -> its columns, and of a mapping from languages to texts these."""


def write_texts(name: str, splits: Sequence[str], folder: Path) -> None:
    """Write a data set of ``NUM_ROWS`` made-up texts a split in the layout of the real one."""
    import datasets

    features = datasets.Features({
        column: datasets.Translation(languages=list(languages)) if languages else datasets.Value("string")
        for column, languages in TEXTS[name].items()
    })  # fmt: skip

    def cell(column: str, number: int) -> str:
        return f"the {column} of film {number} was good.\nit was old."

    rows = {
        split: datasets.Dataset.from_dict(
            {
                column: [
                    {language: cell(language, n) for language in languages} if languages else cell(column, n)
                    for n in range(NUM_ROWS)
                ]
                for column, languages in TEXTS[name].items()
            },
            features=features,
        )
        for split in splits
    }
    datasets.DatasetDict(rows).save_to_disk(folder)
