from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from headway.data.options import DataOptions
from headway.data.table import Table
from headway.types import Column

pytestmark = pytest.mark.slow

COLUMNS = (
    Column("text", "text", True, "the text"),
    Column("text_pair", "text", False, "the second text"),
    Column("label", "label", True, "the label"),
)

# The `data` section of a recipe, and the rows of train, validation and test that the data sets' page states.
DATA_SETS = {
    "sst2": (
        """
        train: sst2/train.tsv
        validation: sst2/dev.tsv
        test: sst2/test.tsv
        column_names: [text, label]
        quoting: none
        """,
        (6920, 872, 1821),
    ),
    "sst2_glue": (
        """
        train: sst2_glue/train.tsv.gz
        validation: sst2_glue/dev.tsv
        columns: {text: sentence}
        quoting: none
        label_names: {0: negative, 1: positive}
        """,
        (67349, 872),
    ),
    "sst5_trees": (
        """
        train: sst5_trees/train.txt.gz
        validation: sst5_trees/dev.txt
        test: sst5_trees/test.txt
        format: trees
        """,
        (8527, 1095, 2203),
    ),
    "mrpc": (
        """
        train: mrpc/msr_paraphrase_train.txt
        test: mrpc/msr_paraphrase_test.txt
        format: tsv
        quoting: none
        columns: {text: "#1 String", text_pair: "#2 String", label: Quality}
        """,
        (4076, 1725),
    ),
    "rte": (
        """
        train: rte/train.tsv
        validation: {path: rte/val.tsv, column_names: [index, sentence1, sentence2, label]}
        test: rte/dev.tsv
        columns: {text: sentence1, text_pair: sentence2}
        quoting: none
        """,
        (2127, 363, 277),
    ),
    "stsb": (
        """
        train: stsb/stsb-en-train.csv
        validation: stsb/stsb-en-dev.csv
        test: stsb/stsb-en-test.csv
        column_names: [text, text_pair, label]
        """,
        (5749, 1500, 1379),
    ),
    "qnli": (
        """
        train: qnli/dev.tsv
        columns: {text: question, text_pair: sentence}
        quoting: none
        """,
        (5463,),
    ),
    "snli": (
        """
        train: [snli/s1.dev.gz, snli/s2.dev.gz, snli/labels.dev]
        test: [snli/s1.test.gz, snli/s2.test.gz, snli/labels.test]
        column_names: [text, text_pair, label]
        """,
        (9842, 9824),
    ),
    "mnli": (
        """
        train: mnli/mnli_matched
        test: mnli/mnli_mismatched
        format: tsv
        quoting: none
        column_names: [label, text, text_pair]
        """,
        (1000, 1000),
    ),
    "imdb": (
        """
        train: imdb/orig_train.tsv
        validation: imdb/orig_dev.tsv
        test: imdb/orig_test.tsv
        columns: {text: Text, label: Sentiment}
        """,
        (1707, 245, 488),
    ),
    "movie_reviews": ("train: movie_reviews/movie_reviews_1000.zip", (1000,)),
    "banking77": (
        """
        train: banking77/train.csv
        test: banking77/test.csv
        columns: {label: category}
        """,
        (10003, 3080),
    ),
    "clinc150": (
        """
        train: {path: clinc150/data_full.json.gz, field: train}
        validation: {path: clinc150/data_full.json.gz, field: val}
        test: {path: clinc150/data_full.json.gz, field: oos_test}
        column_names: [text, label]
        """,
        (15000, 3000, 1000),
    ),
    "tweeteval emotion": (
        """
        train: [tweeteval/emotion/train_text.txt, tweeteval/emotion/train_labels.txt]
        validation: [tweeteval/emotion/val_text.txt, tweeteval/emotion/val_labels.txt]
        test: [tweeteval/emotion/test_text.txt, tweeteval/emotion/test_labels.txt]
        column_names: [text, label]
        label_names: tweeteval/emotion/mapping.txt
        """,
        (3257, 374, 1421),
    ),
    "tweeteval irony": (
        """
        train: [tweeteval/irony/train_text.txt, tweeteval/irony/train_labels.txt]
        validation: [tweeteval/irony/val_text.txt, tweeteval/irony/val_labels.txt]
        test: [tweeteval/irony/test_text.txt, tweeteval/irony/test_labels.txt]
        column_names: [text, label]
        label_names: tweeteval/irony/mapping.txt
        """,
        (2862, 955, 784),
    ),
    "ag_news": (
        """
        train: ag_news/train_5000.csv.gz
        column_names: [text, label]
        label_names: ag_news/classes.txt
        test:
          path: ag_news/test.csv
          column_names: [class, title, description]
          columns: {text: [title, description], label: class}
          label_names: {1: World, 2: Sports, 3: Business, 4: Sci/Tech}
        """,
        (5000, 7600),
    ),
    "goemotions": (
        """
        train: goemotions/train.tsv.gz
        validation: goemotions/dev.tsv
        test: goemotions/test.tsv
        column_names: [text, label, id]
        quoting: none
        label_delimiter: ","
        label_names: goemotions/labels.txt
        """,
        (43410, 5426, 5427),
    ),
    "snips": (
        """
        train: [snips/train/seq.in.gz, snips/train/label.gz]
        validation: [snips/valid/seq.in, snips/valid/label]
        test: [snips/test/seq.in, snips/test/label]
        column_names: [text, label]
        format: lines
        """,
        (13084, 700, 700),
    ),
}


def read(name: str, shared_data: Path) -> tuple[DataOptions, list[Table]]:
    section, _ = DATA_SETS[name]
    options = DataOptions.model_validate(yaml.safe_load(section)).relative_to(shared_data)
    sources = [options.train, options.validation, options.test]
    tables = [
        Table.read(source, options=options, columns=COLUMNS, need_gold=True)
        for source in sources
        if source is not None and not isinstance(source, float)
    ]
    return options, tables


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_short_data_section_reads_every_row(name: str, shared_data: Path) -> None:
    section, counts = DATA_SETS[name]
    assert len(section.strip().splitlines()) <= 15
    _, tables = read(name, shared_data)
    assert tuple(len(table) for table in tables) == counts


def test_ag_news_test_bears_the_labels_of_train(shared_data: Path) -> None:
    _, (train, test) = read("ag_news", shared_data)
    assert set(train.column("label")) == set(test.column("label")) == {"World", "Sports", "Business", "Sci/Tech"}
    assert test[0]["text"].startswith("Fears for T N pension after talks Unions representing workers")


def test_goemotions_rows_carry_lists_of_names(shared_data: Path) -> None:
    _, tables = read("goemotions", shared_data)
    assert [sum(len(labels) > 1 for labels in table.column("label")) for table in tables] == [7102, 878, 837]
    assert tables[1][1]["label"] == ["approval", "neutral"]


def test_glue_sst2_has_the_official_balance(shared_data: Path) -> None:
    _, (train, dev) = read("sst2_glue", shared_data)
    assert train.column("label").count("positive") == 37_569
    assert dev.column("label").count("positive") == 444


def test_movie_reviews_leave_the_readme_out_and_say_so(shared_data: Path) -> None:
    _, (table,) = read("movie_reviews", shared_data)
    assert table.column("label").count("pos") == 500
    assert "README" in table.warnings[0]


def test_default_quoting_of_mrpc_is_refused_instead_of_merging_rows(shared_data: Path) -> None:
    section = yaml.safe_load(DATA_SETS["mrpc"][0])
    del section["quoting"]
    options = DataOptions.model_validate(section).relative_to(shared_data)
    with pytest.raises(Exception, match="quoting: none"):
        Table.read(options.train, options=options, columns=COLUMNS, need_gold=True)


def test_embedded_newlines_of_banking77_stay(shared_data: Path) -> None:
    _, (train, test) = read("banking77", shared_data)
    assert train.warnings == test.warnings == ()
    assert [sum("\n" in text for text in table.column("text")) for table in (train, test)] == [10, 3]
