import pytest

from headway.data.findings import SplitView, as_names
from headway.data.label_checks import check_labels
from headway.data.table import Table


def view(labels, name="train", problem_type="single_label_classification"):
    rows = [{"text": f"text {row} of {name}", "label": label} for row, label in enumerate(labels)]
    return SplitView(name, Table.from_rows(rows, name=f"{name}.csv"), ("text",), "label", problem_type, as_names)


def found(train, *others, problem_type="single_label_classification"):
    views = [view(labels, name, problem_type) for name, labels in zip(("validation", "test"), others, strict=False)]
    return {finding.name: finding for finding in check_labels(view(train, problem_type=problem_type), views)}


def test_nothing_to_say_of_sound_labels():
    assert found(["a", "b"] * 5, ["b", "a"], ["a", "b"]) == {}


def test_label_only_in_validation():
    finding = found(["a", "b"] * 5, ["a", "b", "c", "c"])["label_not_in_train"]
    assert (finding.split, finding.count) == ("validation", 2)
    assert "(c)" in finding.message
    assert finding.examples[0] == {"where": "validation.csv, row 3", "value": "c"}


def test_a_label_that_the_recipe_lists_need_not_stand_in_train():
    views = [view(["a", "b", "c", "c"], "validation")]
    findings = {one.name: one for one in check_labels(view(["a", "b"] * 5), views, listed=("a", "b", "c"))}
    assert "label_not_in_train" not in findings
    assert findings["label_not_learnt"].count == 2
    assert "task.labels lists, but of which train has no row (c): 2." in findings["label_not_learnt"].message


def test_label_only_in_train():
    finding = found(["a", "b", "c"] * 5, ["a", "b", "c"], ["a", "a"])["label_not_in_split"]
    assert finding.count == 2
    assert "do not occur in test" in finding.message
    assert finding.examples[0] == {"where": "train.csv, row 2", "value": "b"}


def test_label_with_one_row():
    finding = found(["a", "b"] * 5 + ["c"])["rare_label"]
    assert finding.examples == [{"where": "train.csv, row 11", "value": "c"}]


def test_one_label_only():
    assert "one label only, 'a'" in found(["a"] * 5)["single_class"].message
    assert "no label at all" in found([None] * 5)["single_class"].message
    several = found([["a"], []] * 5, problem_type="multi_label_classification")
    assert "single_class" not in several
    assert "single_class" in found([[], []], problem_type="multi_label_classification")


@pytest.mark.parametrize(("smallest", "says"), [(2, False), (1, True)])
def test_imbalance_begins_above_ten_to_one(smallest, says):
    findings = found(["large"] * 20 + ["small"] * smallest)
    assert ("imbalance" in findings) == says
    if says:
        assert "'large' (20), down to 'small' (1): 1." in findings["imbalance"].message


@pytest.mark.parametrize("other", ["POS", " pos", "pos ", "ｐｏｓ"])
def test_one_label_written_in_two_ways(other):
    finding = found(["pos", "neg", other] * 5)["label_variants"]
    assert finding.count == 2
    assert finding.examples[0] == {"where": "train.csv, row 1", "value": "'pos'"}


def test_variant_in_another_split_and_in_another_unicode_form():
    finding = found(["caf\u00e9", "bar"] * 5, ["cafe\u0301", "bar"])["label_variants"]
    assert finding.split == "train, validation"
    # The two look alike on a screen, so one is written in escapes.
    assert [example["value"] for example in finding.examples] == ["'caf\u00e9'", "'cafe\\u0301'"]


def test_01_and_1_are_two_labels():
    assert found(["01", "1"] * 5) == {}


def test_whole_numbers_written_as_fractions():
    assert found(["1.0", "0.0"] * 5)["float_label"].count == 2
    assert "float_label" not in found(["1.5", "v1.0"] * 5)
