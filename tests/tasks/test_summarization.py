from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headway.data.table import Table
from headway.inference import Inference
from headway.models.backbone import load_backbone
from headway.models.options import ModelOptions
from headway.tasks.base import Limits
from headway.tasks.generation import written
from headway.tasks.summarization import Summarization
from headway.types import Row

ROWS: list[Row] = [
    {"source": f"it was {when}. {who} {did} {what}. the {place} was {how}.", "target": [f"{who} {did} {what}"]}
    for when, who, did, what, place, how in (
        ("night", "a man", "found", "the key", "room", "bright"),
        ("day", "my child", "made", "a song", "street", "dull"),
        ("a sad day", "a dog", "loved", "the cat", "city", "old"), ("good", "we", "hated", "the soup", "food", "awful"),
        ("fine", "they", "liked", "your book", "train", "slow"), ("happy", "a woman", "came", "by bread", "sun", "red"),
        ("not day", "i", "enjoyed", "my meal", "film", "poor"), ("rain", "he", "went", "on the train", "house", "new"),
    )
]  # fmt: skip
CASES: dict[str, tuple[dict[str, Any], list[Row]]] = {
    "one reference": ({"max_target_length": 12}, ROWS),
    "two references, a prefix, beams": (
        {"max_target_length": 12, "source_prefix": "the story ", "generation": {"num_beams": 2, "length_penalty": 1.0}},
        [
            {**row, "target": [*row["target"], "a story of the city"][: 1 + number % 2]}
            for number, row in enumerate(ROWS)
        ],
    ),
    "another language": ({"max_target_length": 12, "language": "de"}, ROWS),
}


def test_windows_learn_their_own_sentences_and_are_joined(tiny_bert: Path) -> None:
    task = Summarization(max_target_length=16)
    backbone = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert)))
    limits = Limits(max_length=12, truncation="window", doc_stride=2)
    row = {
        "source": "a man found the dog in the garden. " + "rain and rain and rain. " + "the child loved the song.",
        "target": ["A man found the dog. The child loved the song."],
    }
    features = task.encode(row, backbone.tokenizer, limits)
    assert len(features) > 2
    texts = [backbone.tokenizer.decode(one.targets["labels"], skip_special_tokens=True) for one in features]
    assert texts[0] == "a man found the dog."
    assert texts[-1] == "the child loved the song."
    assert not any(texts[1:-1])
    inference = Inference(task, task.build_model(backbone), backbone.tokenizer, limits)
    (whole,) = inference.stream([{"source": row["source"]}])
    parts = inference.predict([*inference.encode([{"source": row["source"]}])], [row])
    assert whole == parts[0]
    joined = task.merge([written("a man found the dog ."), written(""), written("the song", is_finished=False)])
    assert joined == written("a man found the dog . the song", is_finished=False)


def test_what_a_cut_source_and_a_cut_target_lose_is_counted(tiny_bert: Path) -> None:
    tokenizer = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert))).tokenizer
    row = {"source": " ".join(["film"] * 30), "target": ["dog " * 9]}
    (features,) = Summarization(max_target_length=6).encode(row, tokenizer, Limits(max_length=10))
    assert len(features.inputs["input_ids"]) == 10
    assert len(features.targets["labels"]) == 6
    assert features.extra["tokens_lost"] == 22 + 5


@pytest.mark.parametrize("truncation", ["head", "tail", "head+tail"])
def test_a_prefix_is_never_cut(tiny_bert: Path, truncation: str) -> None:
    tokenizer = load_backbone(ModelOptions(model_name_or_path=str(tiny_bert))).tokenizer
    task, limits = Summarization(source_prefix="the story "), Limits(max_length=8, truncation=truncation)
    (features,) = task.encode({"source": "one two three a b c d e f"}, tokenizer, limits)
    assert tokenizer.decode(features.inputs["input_ids"]).startswith("[CLS] the story ")
    assert len(features.inputs["input_ids"]) == 8
    assert features.extra["tokens_lost"] == 5


def test_lists_of_sentences_become_lines_and_several_columns_references(tmp_path: Path) -> None:
    from headway.data.options import DataOptions

    path = tmp_path / "rows.jsonl"
    lines = [
        {"source": ["one.", "two."], "a": "first", "b": "[second]"},
        {"source": "three.", "a": "third", "b": None},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    options = DataOptions(train=str(path), columns={"target": ["a", "b"]})
    table = Table.read(str(path), options=options, columns=Summarization().columns, need_gold=True)
    assert list(table) == [
        {"source": "one.\ntwo.", "target": ["first", "[second]"]},
        {"source": "three.", "target": ["third"]},
    ]


def test_the_baselines_are_the_beginning_and_a_sentence_at_random() -> None:
    rows = [{"source": "First one. Second one. Third one. Fourth one.", "target": ["x"]}]
    found = Summarization().baselines(rows, rows, seed=0)
    assert found["lead_3"] == [written("First one. Second one. Third one.")]
    assert found["random_sentence"][0].value in rows[0]["source"]


def test_the_report_says_how_texts_were_scored() -> None:
    rows = [{"source": f"text {n} " * 200, "target": ["a summary", "another"]} for n in range(30)]
    predictions = [written("a summary" if n else "", is_finished=n != 3) for n in range(30)]
    how, worst, some = Summarization(generation={"num_beams": 4}).details(predictions, rows)["tables"]
    shown = dict(how["rows"])
    assert shown["signature of bleu"].startswith("nrefs:2|")
    assert shown["rows with several references"] == 30
    assert shown["texts cut off at max_target_length"] == 1
    assert shown["generation.num_beams"] == "4"
    assert worst["rows"][0][1:] == ["a summary | another", "", 0.0]
    assert "characters more" in worst["rows"][0][0]
    assert len(some["rows"]) == 10


def test_empty_targets_are_named() -> None:
    table = Table.from_rows(
        [{"source": f"text {n}", "target": ["" if n == 2 else "a", " "]} for n in range(30)], "rows"
    )
    found = {one.name: one for one in Summarization().check({"train": table}, {}).warnings}
    assert found["empty_target"].count == 1
    assert found["empty_target"].examples == [{"where": "rows, row 3", "value": ""}]
