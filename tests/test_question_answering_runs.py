"""Question answering from a file to a finished run: offsets, threshold, report, other tools, real questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.tasks.test_question_answering import FACTS, ROWS, UNANSWERABLE
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from headway import Predictor, Recipe
from headway.cli.app import app
from headway.data.options import DataOptions
from headway.data.table import Table
from headway.errors import DataError, ModelError
from headway.evaluate import evaluate
from headway.inference import Inference
from headway.models.backbone import load_backbone
from headway.models.options import ModelOptions
from headway.preparation import check_recipe, prepare, read_tables
from headway.tasks.base import Limits
from headway.tasks.question_answering import QuestionAnswering
from headway.train import train
from headway.types import Prediction, Row


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


@pytest.fixture(scope="module")
def squad_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve paragraphs of three questions each, of which every fourth has no answer, in SQuAD's own layout."""
    path = tmp_path_factory.mktemp("squad") / "questions.json"
    articles = []
    for number in range(12):
        question, context, answer = FACTS[number % len(FACTS)]
        context = f"{context} {number}"
        start = context.index(answer)
        asked: list[dict[str, Any]] = [
            {"id": f"{number}-{n}", "question": f"{question} {n}", "answers": [{"text": answer, "answer_start": start}]}
            for n in range(3)
        ]
        if number % 4 == 0:
            asked.append({"id": f"{number}-x", "question": "who made the sun", "answers": [], "is_impossible": True})
        articles.append({"title": f"Article {number}", "paragraphs": [{"context": context, "qas": asked}]})
    path.write_text(json.dumps({"version": "v2.0", "data": articles}), encoding="utf-8")
    return path


def recipe_for(path: Path, tiny_bert: Path, **options: Any) -> Recipe:
    return Recipe.from_dict({
        "task": {"type": "question-answering", "n_best": 3, **options},
        "data": {"train": str(path), "validation": 0.34, "format": "squad", "max_length": 32},
        "model": {"model_name_or_path": str(tiny_bert)},
        "optimization": {"learning_rate": 3e-3, "warmup_ratio": 0.1},
        "training": {"num_train_epochs": 2, "per_device_train_batch_size": 8, "bf16": False},
    })  # fmt: skip


@pytest.fixture(scope="module")
def squad_run(squad_json: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "squad"
    train(recipe_for(squad_json, tiny_bert), output_dir=folder)
    return folder


# --- what the rows say ------------------------------------------------------------------------------------------------


def test_whether_questions_may_have_no_answer_is_learnt() -> None:
    assert QuestionAnswering().resolve(Table.from_rows(ROWS)).has_unanswerable is False
    assert QuestionAnswering().resolve(Table.from_rows([*ROWS, UNANSWERABLE])).has_unanswerable is True
    assert QuestionAnswering(has_unanswerable=True).resolve(Table.from_rows(ROWS)).has_unanswerable is True
    with pytest.raises(DataError, match=r"1 of 9 rows have no answer \(rows, row 9\)"):
        QuestionAnswering(has_unanswerable=False).resolve(Table.from_rows([*ROWS, UNANSWERABLE]))
    with pytest.raises(DataError, match="no row has an answer"):
        QuestionAnswering().resolve(Table.from_rows([UNANSWERABLE]))


def test_wrong_offsets_are_counted_and_repaired_or_refused_by_row(tmp_path: Path, tokenizer: Any) -> None:
    good = {
        "question": "what",
        "context": "the old garden and the new room",
        "answers": {"text": "new room", "answer_start": 23},
    }
    shifted = {**good, "answers": [{"text": "old garden", "answer_start": 6}]}
    unclear = {**good, "answers": {"text": ["the"], "answer_start": [1]}}
    absent = {**good, "answers": {"text": ["the sun"], "answer_start": [0]}}

    def recipe(*rows: Row, **options: Any) -> Recipe:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
        return Recipe.from_dict(
            {"task": {"type": "question-answering", **options}, "data": {"train": str(path), "validation": None}}
        )

    _, report = check_recipe(recipe(good, shifted, shifted), tokenizer)
    (finding,) = [one for one in report.warnings if one.name == "wrong_answer_offset"]
    assert (finding.split, finding.count) == ("train", 2)
    assert finding.examples[0]["where"].endswith("rows.jsonl, line 2")
    assert "stands at 4" in finding.examples[0]["value"]
    with pytest.raises(DataError) as error:
        check_recipe(recipe(good, unclear, shifted, absent), tokenizer)
    assert "2 of 4 rows do not fit the task" in str(error.value)
    assert "rows.jsonl, line 2: column 'answers': the answer 'the' does not stand at character 1" in str(error.value)
    assert "line 4: column 'answers': the answer 'the sun'" in str(error.value)
    with pytest.raises(DataError, match=r"1 of 2 rows.*\n.*task.answer_repair"):
        check_recipe(recipe(good, shifted, answer_repair=False), tokenizer)


def test_rows_without_answer_that_train_lacks_are_a_warning(tokenizer: Any) -> None:
    task = QuestionAnswering().resolve(Table.from_rows(ROWS))
    report = task.check({"train": Table.from_rows(ROWS), "test": Table.from_rows([UNANSWERABLE], name="new")}, {})
    (finding,) = [one for one in report.warnings if one.name == "unanswerable_not_in_train"]
    assert (finding.split, finding.count, finding.examples[0]["where"]) == ("test", 1, "new, row 1")


FLAT = json.dumps({"question": "what", "context": "the old room", "answers": [{"text": "old", "answer_start": 4}]})
NESTED = '{"question": "what", "context": "the old room", "answers": {"text": ["old"], "answer_start": [4]}}'
CELL = "{'text': ['old'], 'answer_start': [4]}"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", f'question,context,answers\nwhat,the old room,"{CELL}"\nwhat,the old room,old\n'),
        ("rows.jsonl", f"{FLAT}\n{NESTED}\n"),
        ("rows.json", f'{{"version": 2.0, "data": [{FLAT}, {NESTED}]}}'),
    ],
)
def test_flat_tables_hold_answers_in_several_forms(name: str, content: str, tmp_path: Path, tokenizer: Any) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    recipe = Recipe.from_dict({"task": "question-answering", "data": {"train": str(path), "validation": None}})
    prepared = prepare(recipe, read_tables(recipe), tokenizer)
    first = prepared.features["train"][0]
    assert [one.targets for one in prepared.features["train"]] == [first.targets] * 2
    assert first.targets["start_positions"] == first.extra["first"] + 1
    assert [prepared.task.gold(one) for one in prepared.tables["train"]] == [{"text": ["old"], "answer_start": [4]}] * 2


def test_an_empty_cell_of_a_csv_is_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(
        "question,context,answer\nwhat,the old room,old\nwho,the old room,\n2+2,it is 1995,1995\n", encoding="utf-8"
    )
    recipe = Recipe.from_dict({
        "task": "question-answering", "data": {"train": str(path), "validation": None, "columns": {"answers": "answer"}}
    })  # fmt: skip
    table = read_tables(recipe)["train"]
    task = recipe.task.resolve(table)
    assert [task.gold(one)["text"] for one in table] == [["old"], [], ["1995"]]
    assert task.model_dump()["has_unanswerable"] is True


def test_a_held_out_context_is_not_seen_in_training(squad_json: Path, tiny_bert: Path) -> None:
    tables = read_tables(recipe_for(squad_json, tiny_bert))
    contexts = [{one["context"] for one in table} for table in tables.values()]
    assert len(contexts) == 2
    assert not contexts[0] & contexts[1]
    assert all(len(some) > 2 for some in contexts)


def test_a_family_with_another_head_is_refused(tiny_bert: Path) -> None:
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert)))
    backbone.config.model_type = "xlnet"
    with pytest.raises(ModelError, match="beam search"):
        QuestionAnswering().build_model(backbone)


# --- the threshold ----------------------------------------------------------------------------------------------------


def said(text: str, difference: float, threshold: float = 0.0) -> Prediction:
    span = {"text": text, "start": 0, "end": len(text), "score": 0.5}
    value = "" if difference > threshold else text
    return Prediction(value, 0.5, {"start": 0, "end": len(text), "n_best": [span], "null_score_difference": difference})


def test_calibration_takes_the_threshold_with_the_best_f1() -> None:
    rows = [ROWS[2], ROWS[5], ROWS[6], UNANSWERABLE, UNANSWERABLE]
    predictions = [
        said("the door", -3.0),
        said("good", 1.0),
        said("a child", 2.0),
        said("bread", 4.0),
        said("the sun", -1.0),
    ]
    task = QuestionAnswering(has_unanswerable=True)
    before = task.evaluate(predictions, rows)
    assert before["f1"] == pytest.approx(2 / 5)
    assert before["best_f1"] == pytest.approx(4 / 5)
    learnt = task.calibrate(lambda: predictions, rows)
    assert learnt.null_threshold == pytest.approx(3.0)
    after = [said(one.detail["n_best"][0]["text"], one.detail["null_score_difference"], 3.0) for one in predictions]
    assert learnt.evaluate(after, rows)["f1"] == pytest.approx(before["best_f1"])


def test_calibration_asks_for_nothing_where_it_has_nothing_to_learn() -> None:
    def refuse() -> list[Prediction]:
        raise AssertionError("nothing was to be predicted")

    for task, rows in (
        (QuestionAnswering(has_unanswerable=False), ROWS),
        (QuestionAnswering(has_unanswerable=True, null_threshold=1.5), [*ROWS, UNANSWERABLE]),
        (QuestionAnswering(has_unanswerable=True), ROWS),
    ):
        assert task.calibrate(refuse, rows) == task


# --- a run ------------------------------------------------------------------------------------------------------------


def test_the_run_keeps_the_threshold_and_its_predictions_follow_it(squad_run: Path) -> None:
    about = json.loads((squad_run / "model" / "headway.json").read_text())
    threshold = about["task"]["null_threshold"]
    assert isinstance(threshold, float)
    metrics = json.loads((squad_run / "metrics.json").read_text())
    values = {name: one["value"] for name, one in metrics["metrics"]["validation"].items()}
    # On the rows that chose it, the threshold gives the best F1 that any threshold gives.
    assert values["f1"] == pytest.approx(values["best_f1"])
    assert {"exact_match", "f1_has_answer", "exact_match_has_answer", "accuracy_no_answer"} <= values.keys()
    assert {"tfidf_sentence", "no_answer", "untrained"} <= metrics["baselines"].keys()
    titles = [one["title"] for one in metrics["details"]["validation"]["tables"]]
    assert titles == ["Question words", "Length of the answer", "Worst answers", "Threshold of no answer"]
    lines = [json.loads(line) for line in (squad_run / "predictions" / "validation.jsonl").read_text().splitlines()]
    assert "paragraph 1, question" in lines[0]["where"]
    for line in lines:
        assert (line["value"] == "") == (line["detail"]["null_score_difference"] > threshold)


def test_a_finished_run_is_resumed_from_its_own_recipe(squad_run: Path) -> None:
    recipe = Recipe.load(squad_run / "recipe.yaml")
    assert train(recipe, output_dir=squad_run, resume=True)["main_metric"] == "f1"


def test_it_loads_elsewhere_with_equal_logits(squad_run: Path) -> None:
    predictor = Predictor.load(squad_run)
    theirs = AutoModelForQuestionAnswering.from_pretrained(squad_run / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(squad_run / "model")
    question, context, _ = FACTS[0]
    encoded = tokenizer(question, context, return_tensors="pt")
    features = predictor.task.encode(
        {"question": question, "context": context}, predictor.tokenizer, Limits(max_length=32)
    )
    batch = predictor.task.collate(features, predictor.tokenizer)
    with torch.no_grad():
        expected, found = theirs(**encoded), predictor.task.infer(predictor.inference.model, batch)
    assert batch.inputs["input_ids"].tolist() == encoded["input_ids"].tolist()
    for side in ("start_logits", "end_logits"):
        assert torch.allclose(expected[side], found[side], atol=1e-5)
    assert theirs.config.id2label == {0: "start", 1: "end"}


def test_it_predicts_from_python_and_from_the_command_line(squad_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictor = Predictor.load(squad_run)
    question, context, _ = FACTS[0]
    prediction = predictor.predict({"question": question, "context": context})
    assert prediction.value in context
    with pytest.raises(SystemExit) as ended:
        app(["predict", str(squad_run), "--question", question, "--context", context, "--json"])
    assert ended.value.code in (0, None)
    record = json.loads(capsys.readouterr().out)
    assert (record["value"], record["start"]) == (prediction.value, prediction.detail["start"])
    with pytest.raises(DataError, match="'context'"):
        predictor.predict(question)


def test_it_is_scored_again_on_a_file(squad_run: Path, squad_json: Path) -> None:
    result = evaluate(squad_run, str(squad_json))
    assert result["rows"] == 39
    assert 0 <= result["metrics"]["data"]["f1"]["value"] <= 1


def test_a_long_document_takes_little_time_and_memory(tiny_bert: Path) -> None:
    context = "the old garden was bright . " * 2150
    assert len(context) > 60_000
    task = QuestionAnswering(has_unanswerable=False)
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert)))
    limits = Limits(max_length=64, doc_stride=16)
    inference = Inference(task, task.build_model(backbone), backbone.tokenizer, limits, batch_size=16)
    (found,) = inference.stream([{"question": "what was bright", "context": context}])
    assert context[found.detail["start"] : found.detail["end"]] == found.value != ""
    windows = task.encode({"question": "what was bright", "context": context}, backbone.tokenizer, limits)
    # Twice the text needs twice the windows, no more.
    assert 12_900 / 60 < len(windows) < 12_900 / 40
    assert sum(one.length for one in windows) < 1.6 * 12_900


@pytest.mark.parametrize("name", ["squad", "squad_v2"])
def test_the_recipe_trains_on_rows_in_the_hubs_layout(name: str, tiny_bert: Path, tmp_path: Path) -> None:
    import datasets

    features = datasets.Features({
        **{column: datasets.Value("string") for column in ("id", "title", "context", "question")},
        "answers": {
            "text": datasets.List(datasets.Value("string")),
            "answer_start": datasets.List(datasets.Value("int32")),
        },
    })  # fmt: skip
    rows = [{**one, "id": str(number), "title": "A"} for number, one in enumerate(ROWS)]
    if name == "squad_v2":
        rows.append({**rows[0], "answers": {"text": [], "answer_start": []}})
    part = datasets.Dataset.from_list(rows, features=features)
    datasets.DatasetDict({"train": part, "validation": part}).save_to_disk(tmp_path / "hub")
    recipe = Recipe.load(name)
    assert (recipe.data.max_length, recipe.optimization.learning_rate) == (384, 3e-5)
    sources = {split: str(getattr(recipe.data, split)) for split in ("train", "validation")}
    assert sources == {split: f"hub:rajpurkar/{name}[{split}]" for split in sources}
    options = {
        "model.model_name_or_path": str(tiny_bert),
        "training.max_steps": 2,
        "training.baselines": False,
        "training.bf16": False,
        **{f"data.{split}": f"hub:{tmp_path / 'hub'}[{split}]" for split in sources},
    }
    metrics = train(Recipe.load(name, options), output_dir=tmp_path / "run")
    assert metrics["last_step"] == 2
    assert ("best_f1" in metrics["metrics"]["validation"]) == (name == "squad_v2")


# --- real data --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_learns_to_answer_questions_about_wikipedia(shared_data: Path, tmp_path: Path) -> None:
    """500 questions of one half of SQuAD's dev set teach more than the sentence nearest to the question says."""

    def part(name: str, num_rows: int) -> Path:
        options = DataOptions(train=str(shared_data / "squad" / name), format="squad")
        table = Table.read(options.train, options=options, columns=QuestionAnswering().columns, need_gold=True)
        # Short contexts only, for time.
        short = [number for number, row in enumerate(table) if len(row["context"]) < 450]
        chosen = np.array(short)[np.linspace(0, len(short) - 1, num_rows).astype(int)]
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(table[int(i)]) + "\n" for i in chosen), encoding="utf-8")
        return path

    recipe = {
        "task": "question-answering",
        "data": {
            "train": str(part("du_dev-v1.1.json.gz", 500)),
            "validation": None,
            "test": str(part("du_test-v1.1.json.gz", 150)),
            "max_length": 128,
            "doc_stride": 64,
        },
        "optimization": {"learning_rate": 2e-4, "warmup_ratio": 0.1},
        "training": {"num_train_epochs": 2, "per_device_train_batch_size": 6},
    }
    metrics = train(Recipe.from_dict(recipe), output_dir=tmp_path / "run")
    score = metrics["metrics"]["test"]["f1"]["value"]
    baseline = metrics["baselines"]["tfidf_sentence"]["test"]["f1"]["value"]
    assert score > baseline + 0.1
