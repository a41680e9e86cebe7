from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headway.data.table import Table
from headway.errors import DataError
from headway.models.backbone import load_backbone
from headway.models.options import ModelOptions
from headway.tasks.base import Limits
from headway.tasks.dialogue import Dialogue
from headway.tasks.generation import written
from headway.types import Row

ROWS: list[Row] = [
    {"history": history, "response": [response]}
    for history, response in (
        ("how are you\ngood", "and your dog"), ("is it the train", "it is"), ("we loved it", "i hated it"),
        ("where is the cat\nin the garden\nwhy", "it is happy"), ("who came", "my child"), ("a lovely day", "very"),
        ("is the soup good\nno", "too bad"), ("when was it", "at night"),
    )
]  # fmt: skip
CASES: dict[str, tuple[dict[str, Any], list[Row]]] = {
    "three turns": ({"max_target_length": 8}, ROWS),
    "one turn": ({"max_target_length": 8, "num_turns": 1, "turn_token": "and"}, ROWS),
}


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> Any:
    return load_backbone(ModelOptions(model_name_or_path=str(tiny_bert))).tokenizer


def read(task: Dialogue, row: Row, tokenizer: Any, max_length: int = 32) -> tuple[str, int]:
    (features,) = task.encode(row, tokenizer, Limits(max_length=max_length))
    return tokenizer.decode(features.inputs["input_ids"]), features.extra["tokens_lost"]


def test_the_model_reads_the_last_turns(tokenizer: Any) -> None:
    row = {"history": "one\ntwo\n\n three \nfood"}
    assert read(Dialogue(num_turns=3), row, tokenizer) == ("[CLS] two [SEP] three [SEP] food [SEP]", 0)
    assert read(Dialogue(num_turns=2, turn_token="and"), row, tokenizer) == ("[CLS] three and food [SEP]", 0)


def test_the_oldest_turns_are_left_out_first_and_counted(tokenizer: Any) -> None:
    row = {"history": "one two three\nfood food\nday night"}
    assert read(Dialogue(), row, tokenizer, 8) == ("[CLS] food food [SEP] day night [SEP]", 4)
    assert read(Dialogue(), row, tokenizer, 3) == ("[CLS] night [SEP]", 8)


def test_dialogues_become_replies() -> None:
    table = Table.from_rows([{"text": "Hi . __eou__ Hello . __eou__ Bye\nnow __eou__"}, {"text": "alone __eou__"}])
    prepared = Dialogue(turn_separator="__eou__", num_turns=2).prepare(table, 0)
    assert list(prepared) == [
        {"history": "Hi .", "response": ["Hello ."]},
        {"history": "Hi .\nHello .", "response": ["Bye\nnow"]},
    ]
    with pytest.raises(DataError, match="no text holds two turns"):
        Dialogue(turn_separator="|").prepare(table, 0)
    with pytest.raises(DataError, match=r"Say in task\.turn_separator"):
        Dialogue().prepare(table, 0)


def test_a_history_needs_a_response_to_be_learnt() -> None:
    with pytest.raises(DataError, match="no 'response'"):
        Dialogue().prepare(Table.from_rows([{"history": "hello"}]), 0)


def test_a_whole_dialogue_is_no_question(tokenizer: Any) -> None:
    with pytest.raises(DataError, match="A row needs 'history'"):
        Dialogue().encode({"text": "a __eou__ b"}, tokenizer, Limits())


def test_the_baselines_know_replies_of_train() -> None:
    train = [
        {"history": "how are you", "response": ["fine"]}, {"history": "is it the train", "response": ["it is"]},
        {"history": "hello", "response": ["fine"]},
    ]  # fmt: skip
    found = Dialogue().baselines(train, [{"history": "the train", "response": ["yes"]}], seed=0)
    assert found == {"commonest_reply": [written("fine")], "nearest_history": [written("it is")]}


def test_the_report_says_how_varied_replies_are() -> None:
    rows = [{"history": "x", "response": [f"yes {n}"]} for n in range(4)]
    tables = Dialogue().details([written("no no")] * 4, rows)["tables"]
    assert tables[1]["title"] == "Variety"
    assert tables[1]["rows"][0] == ["distinct_1", 1 / 8, 5 / 8]
