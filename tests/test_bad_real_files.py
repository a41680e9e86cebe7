"""Public data sets read as they must not be, or damaged by a byte: named or remarked on, and never read in silence."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from headway.cli.app import run

pytestmark = pytest.mark.slow

Copy = Callable[[Path, Path], object]

MRPC = (
    "--data.train", "{data}/mrpc/msr_paraphrase_train.txt", "--data.format", "tsv", "--data.columns.text", "#1 String",
    "--data.columns.text_pair", "#2 String", "--data.columns.label", "Quality",
)  # fmt: skip
QNLI = (
    "--data.train", "{data}/qnli/dev.tsv", "--data.columns.text", "question", "--data.columns.text_pair", "sentence",
)  # fmt: skip
SNLI = "--data.column_names [text,text_pair,label] --data.format lines --data.train"
GOEMOTIONS = (
    "--data.train", "dev.tsv", "--data.column_names", "[text, label, id]", "--data.label_delimiter", ",",
    "--data.label_names", "{data}/goemotions/labels.txt",
)  # fmt: skip


def one_line_less(data: Path, folder: Path) -> None:
    lines = gzip.decompress((data / "snli/s2.dev.gz").read_bytes()).splitlines(keepends=True)
    (folder / "s2.dev").write_bytes(b"".join(lines[:-1]))


def cut_in_the_middle(data: Path, folder: Path) -> None:
    content = (data / "snli/s2.dev.gz").read_bytes()
    (folder / "s2.dev.gz").write_bytes(content[: len(content) // 2])


def unknown_label(data: Path, folder: Path) -> None:
    lines = (data / "goemotions/dev.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    lines[6] = re.sub(r"\t[\d,]+\t", "\t4,99\t", lines[6])
    (folder / "dev.tsv").write_text("".join(lines), encoding="utf-8")


def latin_1_byte(data: Path, folder: Path) -> None:
    lines = (data / "banking77/train.csv").read_bytes().splitlines(keepends=True)
    lines[99] = lines[99].replace(b"e", b"\xe9", 1)
    (folder / "train.csv").write_bytes(b"".join(lines))


def nothing(data: Path, folder: Path) -> None:
    """Leave the data as they are: the options are wrong."""


REFUSED: dict[str, tuple[Copy, tuple[str, ...], tuple[str, ...]]] = {
    "mrpc as if quoted": (nothing, MRPC, ("train.txt, lines 11 to 16: ", "and 422 more errors", "data.quoting: none")),
    "mrpc as if quoted, insisted": (nothing, (*MRPC, "--data.quoting", "minimal"), ("lines 11 to 16", "data.quoting:")),
    "qnli as if quoted": (nothing, QNLI, ("dev.tsv, line", "quote", "data.quoting: none")),
    "snli with a line less": (
        one_line_less,
        (*SNLI.split(), "[{data}/snli/s1.dev.gz, s2.dev, {data}/snli/labels.dev]"),
        ("s2.dev has 9,841", "labels.dev has 9,842", "Which rows belong together?"),
    ),
    "snli with a file cut": (
        cut_in_the_middle,
        (*SNLI.split(), "[{data}/snli/s1.dev.gz, s2.dev.gz, {data}/snli/labels.dev]"),
        ("s2.dev.gz is not a whole archive", "Fetch it again"),
    ),
    "goemotions with an unknown label": (
        unknown_label,
        GOEMOTIONS,
        ("dev.tsv, line 7: column 'label': '99' is not among data.label_names",),
    ),
    "banking77 with a byte of Latin-1": (
        latin_1_byte,
        ("--data.train", "train.csv", "--data.columns.label", "category"),
        ("train.csv, line 100, byte ", r"b'\xe9'", "mixes encodings", "cp1252"),
    ),
    "rte without its header": (
        nothing,
        ("--data.train", "{data}/rte/val.tsv", "--data.columns.text", "sentence1"),
        ("val.tsv: there is no column 'sentence1'", "'entailment'", "data.column_names"),
    ),
    "stsb without its header": (
        nothing,
        ("--data.train", "{data}/stsb/stsb-en-dev.csv"),
        ("there is no column 'text'", "'A man with a hard hat is dancing.'", "(3 names)"),
    ),
    "ag_news with labels from 0 and from 1": (
        nothing,
        (
            "--data.train", "{data}/ag_news/train_5000.csv.gz", "--data.column_names", "[text, label]",
            "--data.validation.path", "{data}/ag_news/test.csv",
            "--data.validation.column_names", "[label, title, text]",
        ),
        ("1900 of 7600 rows", "test.csv, line 2: column 'label' holds '4'", "(0, 1, 2, 3)", "and 1880 more"),
    ),
    "tweeteval with the labels of another split": (
        nothing,
        (
            "--data.column_names", "[text, label]", "--data.train",
            "[{data}/tweeteval/emotion/train_text.txt, {data}/tweeteval/emotion/val_labels.txt]",
        ),
        ("train_text.txt has 3,257", "val_labels.txt has 374"),
    ),
    "clinc150 without its split": (
        nothing,
        ("--data.train", "{data}/clinc150/data_full.json.gz", "--data.column_names", "[text, label]"),
        ("data.field", "'train'", "'oos_test'"),
    ),
    "movie_reviews as a table": (
        nothing,
        ("--data.train", "{data}/movie_reviews/movie_reviews_1000.zip", "--data.format", "csv"),
        ("files", "where one table is expected", "data.format: folder"),
    ),
}  # fmt: skip

READ: dict[str, tuple[tuple[str, ...], int, str]] = {
    "mrpc as it is": ((*MRPC, "--data.quoting", "none"), 4076, "0 problems"),
    "qnli as it is": ((*QNLI, "--data.quoting", "none"), 5463, "0 problems"),
    "sst2 as if quoted, and it holds no quote": (
        ("--data.train", "{data}/sst2/train.tsv", "--data.column_names", "[text, label]", "--data.quoting", "minimal"),
        6920,
        "0 problems",
    ),
    "imdb as if not quoted": (
        (
            "--data.train", "{data}/imdb/orig_dev.tsv", "--data.columns.text", "Text", "--data.columns.label",
            "Sentiment", "--data.quoting", "none",
        ),
        245,
        "stand in quotes, with the quotes inside written twice",
    ),
}  # fmt: skip


def check(options: tuple[str, ...], data: Path, backbone: Path) -> int:
    Path("recipe.yaml").write_text("task: text-classification\ndata: {train: rows}\n")
    given = [option.replace("{data}", str(data)) for option in options]
    return run(["check", "recipe.yaml", "--model.model_name_or_path", str(backbone), *given])


@pytest.mark.parametrize("name", REFUSED)
def test_a_damaged_or_misread_file_is_refused(
    name: str,
    shared_data: Path,
    tiny_bert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage, options, says = REFUSED[name]
    monkeypatch.chdir(tmp_path)
    damage(shared_data, tmp_path)
    assert check(options, shared_data, tiny_bert) == 3
    answer = capsys.readouterr().err
    assert not [word for word in says if word not in answer], answer
    assert len(answer.splitlines()) <= 25
    assert "Traceback" not in answer


@pytest.mark.parametrize("name", READ)
def test_what_is_read_has_all_its_rows(
    name: str,
    shared_data: Path,
    tiny_bert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options, num_rows, says = READ[name]
    monkeypatch.chdir(tmp_path)
    assert check(options, shared_data, tiny_bert) == 0
    out = capsys.readouterr().out
    assert says in out
    counts = re.findall(r"(?:train|validation) ([\d,]+)", out.splitlines()[0])
    assert sum(int(count.replace(",", "")) for count in counts) == num_rows
