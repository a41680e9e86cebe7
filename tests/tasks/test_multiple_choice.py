from __future__ import annotations

import json
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForMultipleChoice, AutoTokenizer

from headway.data.options import DataOptions
from headway.data.table import Table
from headway.errors import DataError
from headway.importing import Choice
from headway.models.backbone import load_backbone
from headway.models.losses import build_loss
from headway.models.options import ModelOptions
from headway.predictor import Predictor
from headway.recipe import Recipe
from headway.tasks.base import Limits
from headway.tasks.multiple_choice import ABSENT, MultipleChoice
from headway.tokenising import encode_table
from headway.train import train
from headway.types import Batch, Features, Prediction, Row

CONTEXTS = [
    "the sun was bright", "the film was dull", "a dog came", "the soup was awful", "the train was slow",
    "it was night", "a sad song", "the rain went on",
]  # fmt: skip
ENDINGS = ["we loved it", "they hated the food", "the cat went away", "i always found a chair"]
GOOD, BAD = ["we loved it", "a lovely song"], ["they hated the food", "an awful night", "a dull book"]


def rows_of(sizes: list[int], names: str = "ABCD") -> list[Row]:
    return [
        {"context": text, "question": "so", "choices": ENDINGS[: sizes[n % len(sizes)]], "label": names[n % 2]}
        for n, text in enumerate(CONTEXTS)
    ]


CASES: dict[str, tuple[dict[str, Any], list[Row]]] = {
    "four choices": (
        {},
        [
            {
                "context": t,
                "question": "so",
                "choices": [*BAD[: n % 4], GOOD[n % 2], *BAD[n % 4 :]],
                "label": "ABCD"[n % 4],
            }
            for n, t in enumerate(CONTEXTS)
        ],
    ),
    "two to four choices, numbers": ({"first_choice": 1}, rows_of([2, 4, 3], names="12")),
    "only a question, labels are texts": (
        {},
        [{"question": t, "choices": ENDINGS[:3], "label": ENDINGS[n % 3]} for n, t in enumerate(CONTEXTS)],
    ),
    "only a context, a choice twice": (
        {},
        [
            {"context": t, "choices": [BAD[0], *[GOOD[n % 2], BAD[0]][:: 1 - 2 * (n % 2)]], "label": "BC"[n % 2]}
            for n, t in enumerate(CONTEXTS)
        ],
    ),
}


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


def labelled(*labels: Any, choices: list[str] | None = None) -> Table:
    held = choices or ["red", "green", "blue", "old"]
    return Table.from_rows([{"question": "which", "choices": held, "label": one} for one in labels], name="quiz.csv")


def test_the_layout_is_that_of_run_swag(tokenizer: Any) -> None:
    row = {"context": "the sun was bright", "question": "so we", "choices": ["loved it", "went away", "slow"]}
    (one,) = MultipleChoice(first_choice="0").encode(row, tokenizer, Limits())
    expected = tokenizer([row["context"]] * 3, [f"so we {choice}" for choice in row["choices"]])
    assert one.pieces == tuple(map(len, expected["input_ids"]))
    assert one.inputs == {name: [value for some in values for value in some] for name, values in expected.items()}
    (alone,) = MultipleChoice(first_choice="0").encode(row | {"context": None}, tokenizer, Limits())
    assert alone.inputs["input_ids"] == [
        value for some in tokenizer(["so we"] * 3, row["choices"])["input_ids"] for value in some
    ]


@pytest.mark.parametrize("truncation", ["head", "tail", "head+tail"])
@pytest.mark.parametrize("given", [("context",), ("question",), ("context", "question")])
def test_no_choice_is_cut_away(given: tuple[str, ...], truncation: str, tokenizer: Any) -> None:
    row = dict.fromkeys(given, "film " * 200) | {"choices": ["red cat", "blue dog in the rain"]}
    (one,) = MultipleChoice().encode(row, tokenizer, Limits(max_length=16, truncation=truncation))
    ids = torch.tensor(one.inputs["input_ids"]).split(list(one.pieces))
    words = [tokenizer.decode(some, skip_special_tokens=True) for some in ids]
    assert [text.replace("film", "").split() for text in words] == [
        ["red", "cat"],
        ["blue", "dog", "in", "the", "rain"],
    ]
    assert max(one.pieces) == 16
    assert one.extra["tokens_lost"] == 2 * 200 * len(given) + 7 - sum(pieces - 3 for pieces in one.pieces)


def test_a_question_longer_than_the_room_leaves_context_and_choice(tokenizer: Any) -> None:
    row = {"context": "the sun was bright", "question": "film " * 50, "choices": ["red cat", "blue dog"]}
    (one,) = MultipleChoice().encode(row, tokenizer, Limits(max_length=14))
    text = tokenizer.decode(one.inputs["input_ids"][: one.pieces[0]])
    assert text == "[CLS] the sun was bright [SEP] film film film film film red cat [SEP]"


@pytest.mark.parametrize(
    ("labels", "first", "gold"),
    [
        (["A", "D", "b"], "A", [0, 3, 1]),
        (["0", "3", "2"], "0", [0, 3, 2]),
        ([1, 4, 2], "1", [0, 3, 1]),
        ([1.0, 0.0], "0", [1, 0]),
        (["A", "4", "1"], "1", [0, 3, 0]),
        (["blue", "old", "red"], "text", [2, 3, 0]),
    ],
)
def test_what_labels_stand_for_is_learnt_from_all_rows(labels: list[Any], first: str, gold: list[int]) -> None:
    table = labelled(*labels)
    task = MultipleChoice().resolve(table)
    assert task.first_choice == first
    assert [task.gold(row) for row in table] == [table[0]["choices"][index] for index in gold]


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        (labelled("0", "4"), ["no one way of reading the labels fits all rows", "quiz.csv, row 2 ('4' of 4 choices)"]),
        (
            labelled("A", "red", "B"),
            ["'A' (expected a letter), which does not fit 1 of 3 rows: quiz.csv, row 2 ('red'"],
        ),
        (labelled("E", "A"), ["quiz.csv, row 1 ('E' of 4 choices)"]),
        (labelled(True), ["row 1 (True of 4 choices)"]),
        (
            labelled("1", "2", "3"),
            ["task.first_choice could be 0 (a letter, or a number counted from 0) or 1 (", "row 1 ('1' of 4"],
        ),
        (
            labelled("3", choices=["3", "1", "2", "0"]),
            ["0 (a letter, or a number counted from 0)", "text (the text of"],
        ),
    ],
)
def test_labels_that_fit_no_way_or_several(table: Table, parts: list[str]) -> None:
    with pytest.raises(DataError) as refused:
        MultipleChoice().resolve(table)
    assert all(part in str(refused.value) for part in parts), refused.value


def test_the_first_choice_may_be_said_and_is_then_kept() -> None:
    assert MultipleChoice(first_choice=0).resolve(labelled("1", "2")).first_choice == "0"
    with pytest.raises(ValidationError, match="first_choice"):
        MultipleChoice(first_choice=2)


def test_rows_that_do_not_fit_are_named(tokenizer: Any) -> None:
    table = Table.from_rows(
        [
            {"question": "which", "choices": ["red", "blue"], "label": "C"},
            {"question": "which", "choices": ["red"], "label": "A"},
        ]
    )
    with pytest.raises(DataError) as refused:
        list(encode_table(table, MultipleChoice(first_choice="A"), tokenizer, Limits()))
    assert "row 1: column 'label' holds 'C', which names none of the 2 choices (expected a letter" in str(refused.value)
    assert "row 2: column 'choices' holds only 'red'; a row needs at least two choices" in str(refused.value)


@pytest.mark.parametrize(
    ("cells", "columns"),
    [
        ("id,q,a,b,c\n1,which,red,blue,\n2,which,red,blue,green\n", {"question": "q", "choices": ["a", "b", "c"]}),
        ('q,options\nwhich,"[\'red\', \'blue\']"\nwhich,"[""red"", ""blue"", ""green""]"\n', None),
        (
            "q,options\nwhich,\"{'text': ['red', 'blue'], 'label': ['A', 'B']}\"\n"
            "which,\"{'text': ['red', 'blue', 'green'], 'label': ['1', '2', '3']}\"\n",
            None,
        ),
    ],
)
def test_choices_from_columns_from_a_list_and_in_the_form_of_arc(
    cells: str, columns: dict[str, Any] | None, tmp_path: Path
) -> None:
    path = tmp_path / "quiz.csv"
    path.write_text(cells)
    options = DataOptions(train=str(path), columns=columns or {"question": "q", "choices": "options"})
    table = Table.read(path, options=options, columns=MultipleChoice().columns, need_gold=False)
    assert table.column("choices") == [["red", "blue"], ["red", "blue", "green"]]


def test_a_row_needs_a_context_or_a_question(tmp_path: Path) -> None:
    path = tmp_path / "quiz.jsonl"
    path.write_text('{"choices": ["red", "blue"], "label": "A"}\n')
    with pytest.raises(DataError, match="there is no column 'context'"):
        Table.read(path, options=DataOptions(train=str(path)), columns=MultipleChoice().columns, need_gold=True)


def batch_of(tokenizer: Any, rows: list[Row]) -> Batch:
    task = MultipleChoice(first_choice="A")
    return task.collate([one for row in rows for one in task.encode(row, tokenizer, Limits())], tokenizer)


def test_absent_choices_get_no_probability_and_a_finite_loss(tiny_bert: Path, tokenizer: Any) -> None:
    task = MultipleChoice(first_choice="A")
    batch = batch_of(tokenizer, rows_of([2, 4, 3]))
    model = task.build_model(load_backbone(ModelOptions(model_name_or_path=str(tiny_bert)))).eval()
    for dtype in (torch.float32, torch.bfloat16):
        logits = task.forward(model.to(dtype), batch)["logits"]
        assert logits.shape == (8, 4)
        assert logits.isfinite().all()
        assert ((logits.float() - ABSENT).abs() < 50).sum(1).tolist() == [2, 0, 1, 2, 0, 1, 2, 0]
        smoothed = build_loss(Choice(name="cross_entropy"), label_smoothing_factor=0.1)
        loss = task.loss({"logits": logits}, batch, smoothed)
        assert 0 < loss.item() < 5
    # The same rows, each for itself.
    alone = [task.loss({"logits": logits[[n], : batch.sizes[n]]}, batch_of(tokenizer, [row]), smoothed)
             for n, row in enumerate(rows_of([2, 4, 3]))]  # fmt: skip
    assert loss.item() == pytest.approx(torch.stack(alone).mean().item(), abs=1e-3)


def said(choices: list[str], *logits: float, first: str = "A") -> Prediction:
    batch = Batch({}, {}, (Features({}, pieces=(1,) * len(choices)),))
    task = MultipleChoice(first_choice=first)
    (one,) = task.decode({"logits": torch.tensor([[*logits, ABSENT]])}, batch, [{"choices": choices}], None)
    return one


@pytest.mark.parametrize(("first", "label"), [("A", "B"), ("0", "1"), ("1", "2"), ("text", "no")])
def test_a_prediction_says_the_choice_its_place_and_how_a_file_would_write_it(first: str, label: str) -> None:
    one = said(["yes", "no", "yes"], 1.0, 2.0, 0.0, first=first)
    assert (one.value, one.detail["index"], one.detail["label"]) == ("no", 1, label)
    assert one.score == pytest.approx(0.6652, abs=1e-4)
    assert one.detail["probabilities"] == pytest.approx({"yes": 0.2447, "no": 0.6652, "yes (2)": 0.0900}, abs=1e-4)


def test_scores_by_hand() -> None:
    task = MultipleChoice(first_choice="A")
    rows = [
        {"choices": ["a", "b", "c"], "label": "A"},
        {"choices": ["a", "b", "c"], "label": "C"},
        {"choices": ["a", "b"], "label": "A"},
        {"choices": ["a", "b", "a"], "label": "A"},
    ]
    predictions = [
        said(["a", "b", "c"], 3.0, 2.0, 1.0),
        said(["a", "b", "c"], 3.0, 2.0, 1.0),
        said(["a", "b"], 0.0, 1.0),
        said(["a", "b", "a"], 0.0, 1.0, 2.0),
    ]
    assert task.evaluate(predictions, rows) == pytest.approx({
        "accuracy": 0.5,
        "mean_reciprocal_rank": (1 + 1 / 3 + 1 / 2 + 1) / 4,
        "accuracy_of_2_choices": 0.0,
        "accuracy_of_3_choices": 2 / 3,
    })  # fmt: skip
    scorer = task.scorer(predictions, rows)
    assert scorer(np.array([0, 0])) == {"accuracy": 1.0, "mean_reciprocal_rank": 1.0, "accuracy_of_3_choices": 1.0}
    details = task.details(predictions, rows)
    assert details["confusion"] == {
        "labels": ["choice 1", "choice 2", "choice 3"],
        "counts": [[1, 1, 1], [0, 0, 0], [1, 0, 0]],
    }
    assert details["tables"][0]["rows"] == [["choice 1", 3, 2], ["choice 2", 0, 1], ["choice 3", 1, 1]]


def test_the_baselines() -> None:
    task = MultipleChoice(first_choice="A")
    rows = [
        {"context": "the cat slept", "choices": ["a dog barked at night", "the cat woke", "rain"], "label": "C"},
        {"context": "soup", "choices": ["bread and soup", "a", "garden"], "label": "C"},
    ]
    found = task.baselines(rows, rows, seed=0)
    assert [one.detail["index"] for one in found["majority_position"]] == [2, 2]
    assert [one.detail["index"] for one in found["longest_choice"]] == [0, 0]
    assert [one.detail["index"] for one in found["tfidf_overlap"]] == [1, 0]
    # Training rows have positions that a shorter row lacks.
    short = [{"context": "x", "choices": ["a", "b"], "label": "A"}]
    assert task.baselines(rows, short, seed=0)["majority_position"][0].detail["probabilities"] == {"a": 0.5, "b": 0.5}


def test_one_position_for_all_is_a_collapse() -> None:
    one, other = said(["a", "b"], 1.0, 0.0), said(["c", "d"], 1.0, 0.0)
    assert MultipleChoice().is_collapsed([one, other])
    assert not MultipleChoice().is_collapsed([one, said(["c", "d"], 0.0, 1.0)])


def test_the_saved_model_is_the_one_of_transformers(tiny_bert: Path, tmp_path: Path) -> None:
    data = tmp_path / "quiz.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows_of([4])))
    recipe = {
        "task": "multiple-choice",
        "data": {"train": str(data), "validation": 0.25, "max_length": 32},
        "model": {"model_name_or_path": str(tiny_bert)},
        "training": {"max_steps": 2, "bf16": False, "baselines": False},
    }
    train(Recipe.from_dict(recipe), output_dir=tmp_path / "run")
    predictor = Predictor.load(tmp_path / "run")
    row = {name: value for name, value in rows_of([4])[0].items() if name != "label"}
    model = AutoModelForMultipleChoice.from_pretrained(tmp_path / "run" / "model").eval()
    tokens = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")(
        [row["context"]] * 4, [f"so {choice}" for choice in row["choices"]], padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        logits = model(**{name: values[None] for name, values in tokens.items()}).logits[0]
    assert list(predictor.predict(row).detail["probabilities"].values()) == pytest.approx(
        logits.softmax(-1).tolist(), abs=1e-5
    )


def test_the_sample_of_choices() -> None:
    lines = (files("headway") / "samples" / "choices.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 108
    assert Counter(len(row["choices"]) for row in rows) == {3: 27, 4: 81}
    assert min(Counter(row["label"] for row in rows).values()) >= 20
    assert len({row["context"] for row in rows}) == 108
    for row in rows:
        assert len(set(row["choices"])) == len(row["choices"])
        assert all(text == text.strip() != "" for text in [row["context"], row["question"], *row["choices"]])


# --- real data --------------------------------------------------------------------------------------------------------

CODAH = {
    "quoting": "none",
    "column_names": ["category", "prompt", "ending0", "ending1", "ending2", "ending3", "label"],
    "columns": {"question": "prompt", "choices": ["ending0", "ending1", "ending2", "ending3"]},
}


def read(path: Path, **options: Any) -> Table:
    reading = DataOptions(train=str(path), **options)
    return Table.read(path, options=reading, columns=MultipleChoice().columns, need_gold=True)


@pytest.mark.slow
def test_codah_whole_and_in_its_folds(shared_data: Path) -> None:
    counts = {"full_data": 2776, "fold_0_train": 1665, "fold_0_dev": 556, "fold_0_test": 555}
    tables = {name: read(shared_data / "codah" / f"{name}.tsv", **CODAH) for name in counts}
    assert {name: len(table) for name, table in tables.items()} == counts
    assert all(len(row["choices"]) == 4 for row in tables["full_data"])
    assert MultipleChoice().resolve(tables["fold_0_train"]).first_choice == "0"
    # The category, which no one reads, is empty in some rows.
    raw = (shared_data / "codah" / "full_data.tsv").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("\t") for line in raw)


@pytest.mark.slow
def test_cosmosqa_with_its_line_ends(shared_data: Path) -> None:
    path = shared_data / "cosmosqa" / "valid.csv.gz"
    table = read(path, columns={"choices": ["answer0", "answer1", "answer2", "answer3"]})
    assert len(table) == 2985
    assert sum(choice.strip() == "None of the above choices ." for row in table for choice in row["choices"]) == 2187
    assert not any("\r" in choice for row in table for choice in row["choices"])
    task = MultipleChoice().resolve(table)
    assert task.first_choice == "0"
    assert Counter(row["choices"].index(task.gold(row)) for row in table).keys() == {0, 1, 2, 3}


@pytest.mark.slow
def test_swag_is_json_lines_in_spite_of_its_name(shared_data: Path) -> None:
    columns = {"context": "sent1", "question": "sent2", "choices": [f"ending{n}" for n in range(4)]}
    table = read(shared_data / "tiny_samples" / "swag_sample.json", format="jsonl", columns=columns)
    assert len(table) == 10
    assert table[0]["question"] == "A drum line"
    assert MultipleChoice(first_choice="0").gold(table[0]).startswith("passes by walking down the street")
    with pytest.raises(DataError, match=r"set data\.format: jsonl"):
        read(shared_data / "tiny_samples" / "swag_sample.json", columns=columns)


@pytest.mark.slow
def test_codah_trains(shared_data: Path, tmp_path: Path) -> None:
    lines = (shared_data / "codah" / "fold_0_train.tsv").read_text(encoding="utf-8").splitlines()
    data = tmp_path / "codah.tsv"
    data.write_text("\n".join(lines[:600]), encoding="utf-8")
    recipe = {
        "task": "multiple-choice",
        "data": {"train": str(data), "validation": 0.2, "max_length": 48, **CODAH},
        "model": {"model_name_or_path": "minilm"},
        "optimization": {"learning_rate": 5e-5},
        "training": {"num_train_epochs": 2, "per_device_train_batch_size": 16, "logging_steps": 5, "baselines": False},
    }
    metrics = train(Recipe.from_dict(recipe), output_dir=tmp_path / "run")
    scores = metrics["metrics"]["validation"]
    # It is made to mislead models of far more parameters: what shows here is that the task can be learnt at all.
    assert 0.15 < scores["accuracy"]["value"] < 0.9
    history = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert len(history) > 5
