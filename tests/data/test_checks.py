import json
import subprocess
import sys

import pytest

from headway.data import checks
from headway.data.checks import check_tables
from headway.data.findings import TokenLoss
from headway.data.table import Table

SUBJECTS = ["train", "garden", "kitchen", "teacher", "river", "winter", "market", "doctor", "window", "village"]
VERBS = ["surprised", "delayed", "pleased", "bored"]


def rows(start=0, count=30):
    """Rows that no check complains of: all texts differ, two labels in balance."""
    return [
        {
            "text": f"{SUBJECTS[(start + row) % 10]} number {start + row} {VERBS[(start + row) // 10 % 4]} us",
            "label": ["good", "bad"][row % 2],
        }
        for row in range(count)
    ]


def check(train, validation=None, test=None, **options):
    splits = {"train": train, "validation": validation, "test": test}
    tables = {name: Table.from_rows(part, name=f"{name}.csv") for name, part in splits.items() if part is not None}
    options = {"text_columns": ("text", "text_pair"), "label_column": "label"} | options
    return check_tables(tables, **options)


def names(report):
    return [finding.name for finding in report.problems], [finding.name for finding in report.warnings]


def only(findings, name):
    (finding,) = [finding for finding in findings if finding.name == name]
    return finding


def test_sound_data_pass_in_silence():
    report = check(rows(), rows(100, 10), rows(200, 10))
    assert names(report) == ([], [])
    assert report.to_json() == {"problems": [], "warnings": []}


@pytest.mark.parametrize("text", ["", "  ", "\n\t", "\u00a0"])
def test_empty_text(text):
    finding = only(check([*rows(), {"text": text, "label": "good"}]).warnings, "empty_text")
    assert finding.count == 1
    assert finding.examples == [{"where": "train.csv, row 31", "value": repr(text)}]


def test_all_texts_empty_is_a_problem():
    report = check([{"text": "", "label": row["label"]} for row in rows()])
    assert names(report)[0] == ["all_texts_empty"]
    assert "empty_text" not in names(report)[1]


def test_missing_text_counts_as_empty():
    assert "empty_text" in names(check([*rows(), {"label": "good"}]))[1]


@pytest.mark.parametrize("label", [None, "", " "])
def test_missing_label(label):
    finding = only(check([*rows(), {"text": "one more", "label": label}]).problems, "missing_label")
    assert (finding.count, finding.examples[0]["where"]) == (1, "train.csv, row 31")


def test_split_without_rows():
    assert names(check(rows(), []))[0] == ["no_rows"]
    assert names(check([]))[0] == ["no_rows"]


def test_labels_are_checked_over_all_splits():
    report = check(rows(), [*rows(100, 10), {"text": "something of its own", "label": "new"}])
    assert only(report.problems, "label_not_in_train").split == "validation"


def test_duplicates_within_train():
    report = check([*rows(), rows()[3], rows()[3]])
    finding = only(report.warnings, "duplicate")
    assert finding.count == 2
    assert finding.examples[1]["where"] == "train.csv, row 4 and train.csv, row 32"
    assert "contradicting_labels" not in names(report)[1]


def test_leak_between_splits_names_both_places():
    report = check(rows(), rows(100, 10), [*rows(200, 10), rows()[4]])
    finding = only(report.warnings, "leak")
    assert (finding.split, finding.count) == ("train, test", 1)
    assert finding.examples == [
        {"where": "train.csv, row 5 and test.csv, row 11", "value": "river number 4 surprised us"}
    ]
    assert "near_leak" not in names(report)[1]
    between = check(rows(), rows(100, 10), [*rows(200, 10), rows(100, 10)[0]])
    assert only(between.warnings, "leak").split == "validation, test"


def test_near_duplicate_between_splits():
    text = "The doctor of the village surprised us all with a garden by the river"
    report = check(
        [*rows(), {"text": text, "label": "good"}],
        [*rows(100, 10), {"text": text.upper() + "!", "label": "good"}],
    )
    finding = only(report.warnings, "near_leak")
    assert (finding.split, finding.count) == ("train, validation", 1)
    assert finding.examples[0]["where"] == "train.csv, row 31 and validation.csv, row 11"
    assert "80%" in finding.message
    assert "sample" not in finding.message


def test_long_splits_are_searched_in_a_sample(monkeypatch):
    monkeypatch.setattr(checks, "MAX_COMPARED_ROWS", 10)
    shouted = [{"text": row["text"].upper(), "label": row["label"]} for row in rows()]
    first, again = check(rows(), shouted, seed=1), check(rows(), shouted, seed=1)
    finding = only(first.warnings, "near_leak")
    assert "searched in a sample of 10 rows" in finding.message
    assert finding.count <= 10
    assert first == again


def test_contradicting_labels_within_train_and_between_splits():
    text = rows()[0]["text"]
    within = only(check([*rows(), {"text": text, "label": "bad"}]).warnings, "contradicting_labels")
    assert (within.split, within.count) == ("train", 1)
    assert within.examples == [{"where": "train.csv, row 1 and train.csv, row 31", "value": f"good / bad: {text}"}]
    between = check(rows(), [*rows(100, 10), {"text": text, "label": "bad"}])
    assert only(between.warnings, "contradicting_labels").split == "train, validation"
    assert only(between.warnings, "leak").count == 1


def test_several_labels_contradict_only_if_the_sets_differ():
    split = [row | {"label": ["a", "b"]} for row in rows()]
    again = {"text": split[0]["text"], "label": ["b", "a"]}
    report = check([*split, again], problem_type="multi_label_classification")
    assert names(report) == ([], ["duplicate"])
    other = {"text": split[0]["text"], "label": ["a"]}
    assert "contradicting_labels" in names(check([*split, other], problem_type="multi_label_classification"))[1]


def test_pairs_are_compared_as_pairs():
    split = [row | {"text_pair": "and what came then?"} for row in rows()]
    same_first_text = [rows()[0] | {"text_pair": "who was it?"}, rows()[1] | {"text_pair": "how many?"}]
    assert names(check(split, same_first_text)) == ([], [])
    assert only(check(split, [split[0], *same_first_text]).warnings, "leak").count == 1


def test_regression_checks_numbers_instead_of_labels():
    split = [row | {"label": str(number / 10)} for number, row in enumerate(rows())]
    assert names(check(split, [{"text": "another", "label": "9.99"}], problem_type="regression")) == ([], [])
    bad = [split[0] | {"text": f"row {value}", "label": value} for value in ("nan", "inf", "high")]
    finding = only(check([*split, *bad], problem_type="regression").problems, "not_a_number")
    assert [example["value"] for example in finding.examples] == ["nan", "inf", "high"]
    constant = [row | {"label": "1"} for row in split]
    assert names(check(constant, problem_type="regression")) == (["single_class"], [])


def test_small_train():
    finding = only(check(rows(count=19)).warnings, "small_train")
    assert finding.count == 19
    assert "small_train" not in names(check(rows(count=20)))[1]


@pytest.mark.parametrize(
    "text",
    ["cafÃ© au lait", "itâ€™s late", "a \ufffd b", "Â£35 million", "Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "ðŸ˜€", "it\x92s late", "ï»¿first"],
)
def test_mojibake(text):
    finding = only(check([*rows(), {"text": text, "label": "good"}]).warnings, "mojibake")
    assert (finding.count, finding.examples[0]["where"]) == (1, "train.csv, row 31")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "café",
            "NÃO É",
            "Âme",
            "привет",
            "Ελλάδα",
            "日本語",
            "😀",
            "“quoted” – text…",
            "line\r\nline\tend",
            "a\u0085b",
        ),
        *("zero\u200bwidth", "\u202eright to left", "e" + "\u0301" * 1000, "NA", "=cmd|'/c calc'!A1"),
    ],
)
def test_honest_texts_of_all_scripts_pass(text):
    assert names(check([*rows(), {"text": text, "label": "good"}])) == ([], [])


def test_control_characters_are_shown_in_escapes():
    finding = only(check([*rows(), {"text": "half \x00 of it", "label": "good"}]).warnings, "control_characters")
    assert finding.examples[0]["value"] == r"half \x00 of it"


def test_half_a_surrogate_pair_is_a_problem_that_json_can_hold():
    report = check([*rows(), {"text": "smile \ud83d", "label": "good"}])
    assert names(report)[0] == ["lone_surrogate"]
    assert json.dumps(report.to_json(), ensure_ascii=False).encode("utf-8")


def test_very_long_text_and_very_long_word():
    words = {"text": "word " * 20_001, "label": "good"}
    report = check([*rows(), words, {"text": "x" * 10_001, "label": "bad"}, {"text": "y" * 10_000, "label": "bad"}])
    assert only(report.warnings, "very_long_text").examples[0]["value"].endswith("(100,005 characters)")
    finding = only(report.warnings, "very_long_word")
    assert (finding.count, finding.examples[0]["where"]) == (1, "train.csv, row 32")


def test_tokens_lost_above_one_per_cent():
    lengths = {"50": 40, "90": 100, "99": 212, "100": 400}
    loss = TokenLoss(30, 10_000, 1_500, 4, 128, lengths, examples=[7])
    finding = only(check(rows(), tokens_lost={"train": loss}).warnings, "tokens_lost")
    assert finding.count == 1_500
    assert finding.message == (
        "15.0% of the tokens of train (1,500 of 10,000, in 4 of 30 rows) are lost to data.max_length=128."
    )
    assert "data.max_length=212 keeps 99 %" in finding.mend
    assert finding.examples[0]["where"] == "train.csv, row 8"
    few = TokenLoss(30, 10_000, 100, 1, 128, lengths)
    assert names(check(rows(), tokens_lost={"train": few, "test": loss})) == ([], [])


def test_without_gold_only_texts_are_checked():
    texts = [{"text": row["text"]} for row in rows()]
    assert names(check(texts)) == ([], [])
    assert names(check(rows(), [{"text": "for prediction only"}])) == ([], [])


def test_labels_are_read_as_the_task_reads_them():
    split = [row | {"label": "a,b"} for row in rows()]
    report = check(
        split,
        [{"text": "of its own", "label": "a"}, {"text": "another kind", "label": "b,c"}],
        problem_type="multi_label_classification",
        labels_of=lambda value: value.split(","),
    )
    assert "(c)" in only(report.problems, "label_not_in_train").message


def test_torch_is_not_imported():
    code = "import sys, headway.data.checks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_known_faults_of_public_data_are_found(shared_data):
    import csv

    tables = {}
    for split, file in (("train", "train.tsv"), ("validation", "dev.tsv")):
        with (shared_data / "rte" / file).open(encoding="utf-8", newline="") as lines:
            table = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
        part = [{"text": first, "text_pair": second, "label": label} for _, first, second, label in table]
        tables[split] = Table.from_rows(part, name=file)
    report = check_tables(tables, text_columns=("text", "text_pair"), label_column="label")
    assert report.problems == ()
    assert only([f for f in report.warnings if f.split == "train"], "duplicate").count == 2
    assert "£35 million" in only([f for f in report.warnings if f.split == "train"], "mojibake").examples[1]["value"]
