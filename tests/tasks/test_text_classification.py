from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoTokenizer

from headway.data.table import Table
from headway.errors import DataError, RecipeError
from headway.recipe import Recipe
from headway.tasks.base import Limits
from headway.tasks.text_classification import TextClassification
from headway.tokenising import encode_table
from headway.types import Batch, Prediction, Row

TEXTS = [
    "a great film", "the food was awful and the room very small", "lovely", "dull book", "happy people in a garden",
    "a sad song", "bright and fine", "no plot and poor actors",
]  # fmt: skip
IS_GOOD = [True, False, True, False, True, False, True, False]
NAMES = ["good" if good else "bad" for good in IS_GOOD]

CASES: dict[str, tuple[dict[str, Any], list[Row]]] = {
    "two labels": ({}, [{"text": t, "label": n} for t, n in zip(TEXTS, NAMES, strict=True)]),
    "three labels": ({}, [{"text": t, "label": "abc"[i % 3]} for i, t in enumerate(TEXTS)]),
    "pair": (
        {},
        [{"text": t, "text_pair": TEXTS[i - 1], "label": NAMES[i]} for i, t in enumerate(TEXTS)],
    ),
    "several labels": (
        {},
        [{"text": t, "label": [["x"], [], ["x", "y"], ["z"]][i % 4]} for i, t in enumerate(TEXTS)],
    ),
    "number": (
        {"problem_type": "regression"},
        [{"text": t, "label": str(i / 8)} for i, t in enumerate(TEXTS)],
    ),
}


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


def table_of(*labels: Any) -> Table:
    return Table.from_rows(
        [{"text": f"text {n}", "label": label} for n, label in enumerate(labels)], name="reviews.csv"
    )


def resolved(*labels: Any, **options: Any) -> TextClassification:
    return TextClassification(**options).resolve(table_of(*labels))


def collated(task: TextClassification, tokenizer: Any, *labels: Any) -> Batch:
    features = list(encode_table(table_of(*labels), task, tokenizer, Limits()))
    return task.collate(features, tokenizer)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["b", "a", "C"], ("C", "a", "b")),
        (["10", "9", "1"], ("1", "9", "10")),
        (["-1", "1", "0"], ("-1", "0", "1")),
        ([2, 10, 1], ("1", "2", "10")),
        ([True, False], ("False", "True")),
        (["neutral", "1", "0"], ("0", "1", "neutral")),
        (["--5", "-", "5-", "5"], ("5", "-", "--5", "5-")),
        (["ä", "z", "a"], ("a", "z", "ä")),
    ],
)
def test_labels_are_learnt_in_their_natural_order(labels: list[Any], expected: tuple[str, ...]) -> None:
    task = resolved(*labels)
    assert task.labels == expected
    assert task.problem_type == "single_label_classification"


def test_lists_make_several_labels() -> None:
    task = resolved(["joy", "anger"], [], ["fear"])
    assert (task.problem_type, task.labels) == ("multi_label_classification", ("anger", "fear", "joy"))
    assert (task.main_metric, task.default_loss) == ("f1_micro", "binary_cross_entropy")


def test_given_labels_keep_their_order_and_the_kind_may_be_forced() -> None:
    assert resolved("a", "b", labels=("b", "a", "c")).labels == ("b", "a", "c")
    task = resolved("1", "2", problem_type="regression")
    assert (task.labels, task.main_metric, task.default_loss) == ((), "spearman", "mse")
    assert task.lower_is_better >= {"mse", "mae"}


def test_a_label_given_twice() -> None:
    with pytest.raises(ValidationError, match="these stand twice: a"):
        TextClassification(labels=("a", "b", "a"))


@pytest.mark.parametrize(
    ("labels", "options", "kind", "message"),
    [
        (["good", "good"], {}, DataError, "reviews.csv: column 'label' holds only 'good'; this task needs at least 2"),
        ([[], []], {}, DataError, "reviews.csv: column 'label' holds no label; this task needs at least 1"),
        ([f"{n / 7:.3f}" for n in range(60)], {}, DataError, "holds 60 different numbers in 60 rows, which looks like"),
        (["1"], {"problem_type": "regression", "labels": ("1",)}, RecipeError, "a regression has no labels"),
    ],
)
def test_labels_that_cannot_serve(
    labels: list[Any], options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as refused:
        resolved(*labels, **options)
    assert message in str(refused.value)


@pytest.mark.parametrize("labels", [[str(n) for n in range(60)], [f"{n % 5}.5" for n in range(60)]])
def test_whole_numbers_and_few_numbers_are_classes(labels: list[str]) -> None:
    assert resolved(*labels).problem_type == "single_label_classification"


def test_targets_of_each_kind(tokenizer: Any) -> None:
    batch = collated(resolved("b", "a"), tokenizer, "a", "b", "b")
    assert torch.equal(batch.targets["labels"], torch.tensor([0, 1, 1]))
    batch = collated(resolved(["x", "z"], ["y"]), tokenizer, ["z", "x"], [])
    assert torch.equal(batch.targets["labels"], torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))
    batch = collated(resolved("1", "2", problem_type="regression"), tokenizer, "-1.5", 2, 0.25)
    assert torch.equal(batch.targets["labels"], torch.tensor([-1.5, 2.0, 0.25]))


@pytest.mark.parametrize("labels", [(1, 0), (True, False)])
def test_labels_of_json_are_their_text(labels: tuple[Any, ...], tokenizer: Any) -> None:
    task = resolved(*labels)
    assert torch.equal(collated(task, tokenizer, *labels).targets["labels"], torch.tensor([1, 0]))
    assert task.model_validate(task.model_dump(mode="json")) == task


@pytest.mark.parametrize(
    ("known", "labels", "message"),
    [
        (
            ("bad", "good"),
            ["good", "goood"],
            "row 2: column 'label' holds 'goood', which is not among the labels of this",
        ),
        (("bad", "good"), ["good", "goood"], "Did you mean 'good'?"),
        (("bad", "good"), [["good", "bad"]], "row 1: column 'label' holds 2 labels (['good', 'bad']), expected one."),
        (("bad", "good"), [[]], "row 1: column 'label' holds 0 labels ([]), expected one."),
        (
            tuple(map(str, range(50))),
            ["x"],
            "(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, ...)",
        ),
    ],
)
def test_an_unknown_label_is_named_with_its_place(
    known: tuple[str, ...], labels: list[Any], message: str, tokenizer: Any
) -> None:
    task = TextClassification(problem_type="single_label_classification", labels=known)
    with pytest.raises(DataError) as refused:
        collated(task, tokenizer, *labels)
    assert message in str(refused.value)


@pytest.mark.parametrize("value", ["high", "", "nan", "inf", "1,5", [1.0]])
def test_what_is_no_number_is_named(value: Any, tokenizer: Any) -> None:
    with pytest.raises(DataError, match=r"row 1: column 'label' holds .*, expected a finite number"):
        collated(TextClassification(problem_type="regression"), tokenizer, value)


def test_a_pair_is_one_input(tokenizer: Any) -> None:
    task = TextClassification(problem_type="single_label_classification", labels=("no", "yes"))
    (features,) = task.encode({"text": "good book", "text_pair": "bad film"}, tokenizer, Limits())
    words = tokenizer.convert_ids_to_tokens(features.inputs["input_ids"])
    assert words == ["[CLS]", "good", "book", "[SEP]", "bad", "film", "[SEP]"]
    assert features.inputs["token_type_ids"] == [0, 0, 0, 0, 1, 1, 1]
    (alone,) = task.encode({"text": "good book", "text_pair": None}, tokenizer, Limits())
    assert alone == task.encode({"text": "good book"}, tokenizer, Limits())[0]


def test_balanced_weights_make_every_label_count_alike() -> None:
    task, table = resolved("a", "b"), table_of("a", "a", "a", "b")
    assert task.class_weights(table, "balanced") == pytest.approx([4 / 6, 4 / 2])
    several = resolved(["x"], ["y"])
    assert several.class_weights(table_of(["x"], ["x", "y"], [], ["x"]), "balanced") == pytest.approx([1 / 3, 3.0])


def test_given_weights_follow_the_order_of_the_labels() -> None:
    task = resolved("a", "b", "c")
    assert task.class_weights(table_of("a"), {"c": 3, "a": 0.5}) == [0.5, 1.0, 3.0]
    with pytest.raises(RecipeError, match=r"class_weights: there is no label 'goood'\. Did you mean 'good'\?"):
        resolved("good", "bad").class_weights(table_of("good"), {"goood": 2})
    with pytest.raises(RecipeError, match="a regression has no classes to weigh"):
        TextClassification(problem_type="regression").class_weights(table_of("1"), "balanced")


def decoded(task: TextClassification, logits: list[list[float]]) -> list[Prediction]:
    batch = Batch({}, {}, ())
    return task.decode({"logits": torch.tensor(logits)}, batch, [], None)


def test_the_likeliest_label_with_all_probabilities() -> None:
    (one,) = decoded(resolved("a", "b", "c"), [[0.0, 2.0, 1.0]])
    assert one.value == "b"
    assert one.score == pytest.approx(0.6652, abs=1e-4)
    assert one.detail["probabilities"] == pytest.approx({"a": 0.0900, "b": 0.6652, "c": 0.2447}, abs=1e-4)
    assert list(one.detail["probabilities"]) == ["a", "b", "c"]


@pytest.mark.parametrize(("threshold", "value"), [(0.5, ["y", "z"]), (0.7, ["z"]), (0.9, [])])
def test_every_label_over_the_threshold(threshold: float, value: list[str]) -> None:
    (one,) = decoded(resolved(["x"], ["y"], ["z"], threshold=threshold), [[-1.0, 0.0, 2.0]])
    assert (one.value, one.score) == (value, None)
    assert one.detail["probabilities"] == pytest.approx({"x": 0.2689, "y": 0.5, "z": 0.8808}, abs=1e-4)


def test_a_number_is_the_output_itself() -> None:
    assert decoded(TextClassification(problem_type="regression"), [[-1.5], [7.0]]) == [
        Prediction(-1.5),
        Prediction(7.0),
    ]


def test_a_number_that_hardly_moves_is_a_collapse() -> None:
    task = TextClassification(problem_type="regression")
    assert task.is_collapsed([Prediction(3.0), Prediction(3.0 + 1e-5)])
    assert not task.is_collapsed([Prediction(3.0), Prediction(3.01)])


def test_the_baselines_know_the_commonest_answer_and_the_words() -> None:
    rows = [{"text": "good film" if n % 3 else "bad film", "label": "yes" if n % 3 else "no"} for n in range(30)]
    task = resolved("yes", "no")
    found = task.baselines(rows, rows[:6], seed=0)
    assert {one.value for one in found["majority"]} == {"yes"}
    assert [one.value for one in found["tfidf_logistic_regression"]] == [row["label"] for row in rows[:6]]
    numbers = [{"text": "good " * (n % 4), "label": str(n % 4)} for n in range(40)]
    found = TextClassification(problem_type="regression").baselines(numbers, numbers[:4], seed=0)
    assert {one.value for one in found["mean"]} == {1.5}
    assert found["tfidf_ridge"][0].value < found["tfidf_ridge"][1].value


def test_the_recipe_takes_the_short_form_and_refuses_unknown_options() -> None:
    assert Recipe.from_dict({"task": "text-classification", "data": {"train": "a.csv"}}).task == TextClassification()
    with pytest.raises(RecipeError, match=r"task\.lables: there is no such option"):
        Recipe.from_dict({"task": {"type": "text-classification", "lables": ["a"]}, "data": {"train": "a.csv"}})
    with pytest.raises(RecipeError, match=r"task\.threshold"):
        Recipe.from_dict({"task": {"type": "text-classification", "threshold": 1.5}, "data": {"train": "a.csv"}})
