"""Bad tables: encodings, quotes, shapes, separators, values, JSON, other kinds of files, and what only looks bad."""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.bad_inputs import REVIEWS, ROWS, TRAIN, BadInput

CHECK = ("check", "recipe.yaml")


def csv(*lines: str, header: str = "text,label", encoding: str = "utf-8") -> bytes:
    """Return a table whose lines 4 and on are the given ones, among good rows."""
    return ("\n".join([header, *ROWS[:2], *lines, *ROWS[2:]]) + "\n").encode(encoding)


def _data(name: str, content: bytes | str, *says: str, options: str = "") -> BadInput:
    return BadInput(name, ("reviews.csv", *says), 3, (*TRAIN, *options.split()), {"reviews.csv": content})


def _other(name: str, file: str, content: bytes | str, *says: str, options: str = "") -> BadInput:
    command = (*TRAIN, "--data.train", file, *options.split())
    return BadInput(name, (file, *says), 3, command, {file: content})


def _jsonl(*lines: str) -> str:
    good = [json.dumps({"text": text, "label": label}) for text, label in (row.split(",") for row in ROWS)]
    return "\n".join([*good[:2], *lines, *good[2:]]) + "\n"


def _zip(**members: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return packed.getvalue()


def _parquet() -> bytes:
    written = io.BytesIO()
    pq.write_table(pa.table({"text": ["fine"] * 9, "label": ["good"] * 9}), written)
    return written.getvalue()


TSV = "\n".join(row.replace(",", "\t") for row in ["text,label", *ROWS])
SPLIT = REVIEWS.replace("label", "score").replace("good", "4.5").replace("bad", "1.25")
# A byte order mark, CRLF, and quotes that are characters like any other: one begins a text, another ends a later one.
PARAPHRASES = "".join([
    "\ufeffQuality\t#1 String\t#2 String\r\n",
    *(f"{n % 2}\tthe book was great {n}\tthe book {n} is good\r\n" for n in range(24)),
    '1\t"We liked it\tThey liked it\r\n', "0\tthe soup was cold\tit was hot\r\n",
    "1\tthe room was small\ta small room\r\n", '0\tthe song was sad"\ta sad song\r\n',
]).encode()  # fmt: skip
PAIRS = (
    "--data.train", "pairs.tsv", "--data.columns.text", "#1 String", "--data.columns.text_pair", "#2 String",
    "--data.columns.label", "Quality",
)  # fmt: skip
REGRESSION = "--task.problem_type regression --data.columns.label score"

ENCODINGS = (
    _data("latin-1-byte", csv("the café was great,good", encoding="latin-1"),
          "line 4, byte 65", "b'\\xe9'", "cp1252", "data.encoding"),
    _data("latin-1-many", csv(*["le café était très bon,good"] * 30, encoding="latin-1"),
          "line 4,", "line 23,", "... and 10 more", "cp1252"),
    _data("utf-16", REVIEWS.encode("utf-16"), "UTF-16", "data.encoding: utf-16"),
    _data("utf-16-without-mark", REVIEWS.encode("utf-16-le"), "NUL", "data.encoding: utf-16-le"),
    _data("utf-8-cut-at-the-end", REVIEWS.encode() + "the café".encode()[:-1], "line 26", "cut short"),
    _data("encodings-mixed", csv("the café was great,good") + "the café was great,good\n".encode("latin-1"),
          "line 27", "mixes encodings"),
    _data("surrogate-encoded", csv() + b"half \xed\xa0\xbd a smile,good\n", "line 26", "surrogate"),
    _data("nul-byte", csv("the bo\0ok was great,good"), "line 4", "NUL", "Remove it"),
    _data("encoding-named-wrongly", csv("the café was great,good"), "line 4", "is not ascii", "leave data.encoding out",
          options="--data.encoding ascii"),
)  # fmt: skip

QUOTES = (
    _data("quote-never-closed", csv('"the book was great,good'), "line 4", "never closed", "data.quoting: none"),
    _data("quote-closed-three-rows-later",
          csv('"the book was great,good', "the film was awful,bad", "the food was,bad", 'the "room" was great",good'),
          "line", "quote"),
    _data("quote-then-more", csv('"great" book,good'), "line 4", "goes on after the closing one", '("")'),
    _data("quote-in-the-middle-with-comma", csv('he said "hi, bye",good'), "line 4", "2 fields expected, 3 found",
          "quotes"),
    _data("backslash-before-quote", csv(r'"he said \"hi\" twice",good'), "line 4", "backslash"),
    _other("tsv-quote-swallows-rows", "reviews.tsv",
           TSV + '\n"the book\tgood\nthe film\tbad\nthe food"\tgood\n', "line 26", "swallowed 3 lines",
           "data.quoting: none"),
    BadInput("paraphrases-read-as-quoted", ("pairs.tsv, line 26", "swallowed 4 lines", "data.quoting: none"), 3,
             ("train", "recipe.yaml", *PAIRS), {"pairs.tsv": PARAPHRASES}),
)  # fmt: skip

SHAPES = (
    _data("row-too-long", csv("the book was great,good,5"), "line 4", "2 fields expected, 3 found"),
    _data("row-too-short", csv("the book was great"), "line 4", "2 fields expected, 1 found", "missing"),
    _data("comma-in-every-text", REVIEWS.replace(" was", ", it was"), "line 2", "3 found", "line 21", "and 4 more",
          "quotes"),
    _data("delimiter-at-the-end-of-one-row", csv("the book was great,good,"), "line 4", "ends in a delimiter"),
    _data("column-twice", csv(header="text,text"), "'text' stands 2 times", options="--data.columns.label text"),
    _data("column-misspelt", csv(header="texts,label"), "no column 'text'", "Did you mean 'texts'?", "data.columns"),
    _data("column-in-capitals", csv(header="Text,Label"), "no column 'text'", "Did you mean 'Text'?", "'label'"),
    _data("column-mapped-to-nothing", REVIEWS, "'review' (data.columns.text)", "'text', 'label'",
          options="--data.columns.text review"),
    _data("header-missing", "\n".join(ROWS), "no column 'text'", "'the book was great'", "data.column_names"),
    _data("header-unexpected", REVIEWS, "line 1", "has a header after all", "data.column_names",
          options="--data.column_names [text,label]"),
    _data("header-twice", REVIEWS + REVIEWS, "line 26", "header stands here again", "Remove"),
    _data("header-only", "text,label\n", "no rows, only a header"),
    _data("zero-bytes", b"", "empty (0 bytes)"),
    _data("blank-lines-only", "\n\n\n", "blank lines only"),
    _data("ten-thousand-columns", ",".join(map(str, range(10_000))) + "\n", "10,000 columns", "data.delimiter"),
    _data("semicolons", REVIEWS.replace(",", ";"), "a semicolon", "data.delimiter: ';'"),
    _data("tabs-in-csv", REVIEWS.replace(",", "\t"), "a tab", "data.delimiter"),
    _data("bars", REVIEWS.replace(",", "|"), "a bar", "data.delimiter: '|'"),
)  # fmt: skip

VALUES = (
    _data("label-empty", csv("the book was great,"), "line 4", "'label'", "empty"),
    _data("label-blank", csv("the book was great,  "), "line 4", "'label'", "empty"),
    _data("label-misspelt", csv("the book was great,god"), "line 4", "'god'", "Did you mean 'good'?",
          options="--task.labels [good,bad]"),
    _data("label-01-is-not-1", REVIEWS.replace("good", "01").replace("bad", "1"), "line 2", "'01'", "(1, 2)",
          options="--task.labels ['1','2']"),
    _data("label-of-one-kind", REVIEWS.replace("bad", "good"), "only 'good'", "at least 2"),
    _data("labels-are-measurements", "\n".join(["text,label", *(f"text {n},{n % 30 / 7:.3f}" for n in range(60))]),
          "30 different numbers", "task.problem_type: regression"),
    _data("labels-all-different", "\n".join(["text,label", *(f"text {n},{n / 7:.3f}" for n in range(60))]),
          "60 different values of 'label'", "task.problem_type: regression"),
    BadInput("label-in-validation-only", ("more.csv, line 3", "'mixed'", "good"), 3,
             (*TRAIN, "--data.validation", "more.csv"), {"more.csv": "text,label\nfine,good\nso so,mixed\n"}),
    BadInput("labels-named-by-half", ("reviews.csv, line 3", "'bad'", "data.label_names"), 3,
             (*TRAIN, "--data.label_names.good", "positive")),
    _data("number-is-a-word", SPLIT + "so so,middling\n", "line 26", "'middling'", "finite number", options=REGRESSION),
    _data("number-is-nan", SPLIT + "so so,nan\n", "line 26", "'nan'", "finite number", options=REGRESSION),
    _data("number-is-infinite", SPLIT + "so so,1e999\n", "line 26", "'1e999'", "finite number", options=REGRESSION),
    _data("number-with-a-comma", SPLIT + 'so so,"3,5"\n', "line 26", "'3,5'", "finite number", options=REGRESSION),
    BadInput("numbers-all-alike", ("train", "same number, 1.25", "nothing to learn", "data.columns"), 3,
             (*TRAIN, *REGRESSION.split()), {"reviews.csv": SPLIT.replace("4.5", "1.25")}),
    _data("texts-all-empty", "text,label\n" + ",good\n,bad\n" * 12, "1 different texts", "data.columns"),
    _other("json-text-is-a-number", "reviews.jsonl", _jsonl('{"text": 5, "label": "good"}'), "line 3", "5 (int)"),
    _other("json-text-is-null", "reviews.jsonl", _jsonl('{"text": null, "label": "good"}'), "line 3", "null"),
    _other("json-label-is-null", "reviews.jsonl", _jsonl('{"text": "fine", "label": null}'), "line 3", "null"),
    _other("json-labels-of-mixed-kinds", "reviews.jsonl", _jsonl('{"text": "fine", "label": 1}'),
           "line 3", "text in line 1, a number in line 3"),
    _other("json-half-a-character", "reviews.jsonl", _jsonl(r'{"text": "a smile \ud83d", "label": "good"}'),
           "line 3", "surrogate"),
)  # fmt: skip

JSON = (
    _other("json-line-broken", "reviews.jsonl", _jsonl('{"text": "fine", "label": }'), "line 3", "column 27"),
    _other("json-line-is-no-object", "reviews.jsonl", _jsonl('["fine", "good"]'), "line 3", "a list found"),
    _other("json-number-is-nan", "reviews.jsonl", _jsonl('{"text": "fine", "label": NaN}'), "line 3", "NaN"),
    _other("json-key-twice", "reviews.jsonl", _jsonl('{"text": "fine", "text": "bad", "label": "good"}'),
           "line 3", "'text' stands twice"),
    _other("json-nested-too-deeply", "reviews.jsonl", _jsonl('{"text": ' + "[" * 100_000), "line 3", "deeply"),
    _other("json-list-in-jsonl", "reviews.jsonl", '[{"text": "fine", "label": "good"}]', "data.format: json"),
    _other("json-holds-no-list", "reviews.json", '{"version": 1}', "one object", "data.field"),
)  # fmt: skip

_WORKBOOK = _zip(**{"[Content_Types].xml": "<Types/>", "xl/workbook.xml": "<workbook/>"})

DISGUISES = (
    _data("excel-as-csv", _WORKBOOK, "Excel workbook", "save the sheet as CSV"),
    _data("gzip-as-csv", gzip.compress(REVIEWS.encode()), "gzip", ".gz"),
    _data("zip-as-csv", _zip(**{"reviews.csv": REVIEWS}), "zip archive", ".zip"),
    _data("parquet-as-csv", _parquet(), "Parquet", "data.format: parquet"),
    _data("web-page-as-csv", "<!DOCTYPE html>\n<html><body>404</body></html>\n", "web page", "fetch it again"),
    _data("git-lfs-pointer-as-csv", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n", "git lfs"),
    _other("csv-as-parquet", "reviews.parquet", REVIEWS, "not a Parquet file", "data.format"),
    _other("parquet-cut-short", "reviews.parquet", _parquet()[:-20], "damaged"),
    _other("gzip-cut-short", "reviews.csv.gz", gzip.compress(REVIEWS.encode())[:-20], "not a whole archive"),
    _other("zip-cut-short", "reviews.zip", _zip(**{"reviews.csv": REVIEWS})[:-20], "not a whole archive"),
    _other("zip-of-two-tables", "reviews.zip", _zip(a=REVIEWS, b=REVIEWS), "folder for each label", "2 files"),
    _other("zip-that-climbs", "reviews.zip", _zip(**{"../../reviews.csv": REVIEWS}), "outside the archive"),
    _other("zip-that-explodes", "reviews.zip", _zip(**{"reviews.csv": "a" * 270_000_000}), "200 times", "unpack it"),
    _other("format-not-in-the-name", "reviews.data", REVIEWS, "data.format", "csv"),
)  # fmt: skip


def _in_place_of_reviews(make: object) -> object:
    def arrange(folder: Path) -> None:
        (folder / "reviews.csv").unlink()
        make(folder / "reviews.csv")  # type: ignore[operator]

    return arrange


def _unreadable(path: Path) -> None:
    if not Path("/proc/self/mem").exists():
        pytest.skip("only Linux has this file")
    path.symlink_to("/proc/self/mem")


def _file(name: str, make: object, *says: str) -> BadInput:
    return BadInput(name, ("reviews.csv", *says), 3, arrange=_in_place_of_reviews(make))  # type: ignore[arg-type]


FILES = (
    BadInput("file-missing", ("review.csv", "Did you mean 'reviews.csv'?"), 3, (*TRAIN, "--data.train", "review.csv")),
    BadInput("file-in-no-folder", ("no folder data",), 3, (*TRAIN, "--data.train", "data/reviews.csv")),
    _file("file-is-a-folder", lambda path: path.mkdir(), "folder for each label", "0 files", "name that file"),
    _file("file-is-a-pipe", os.mkfifo, "pipe", "Write its content to a file"),
    _file("file-is-a-device", lambda path: path.symlink_to("/dev/zero"), "device"),
    _file("file-links-to-itself", lambda path: path.symlink_to(path.name), "cannot be opened", "symbolic links"),
    _file("file-links-to-nothing", lambda path: path.symlink_to("gone.csv"), "a link to a file that does not exist"),
    # Any user may open it and none may read it, unlike a file without permissions, which root may.
    _file("file-refused-by-the-system", _unreadable, "cannot be read"),
    BadInput("line-files-of-unequal-length", ("texts.txt has 2", "labels.txt has 3", "same number of lines"), 3,
             (*TRAIN, "--data.train", "[texts.txt, labels.txt]", "--data.column_names", "[text, label]"),
             {"texts.txt": "fine\nawful\n", "labels.txt": "good\nbad\ngood\n"}),
    BadInput("line-files-without-names", ("texts.txt + labels.txt", "data.column_names", "[text, label]"), 3,
             (*TRAIN, "--data.train", "[texts.txt, labels.txt]"),
             {"texts.txt": "fine\nawful\n", "labels.txt": "good\nbad\n"}),
    BadInput("line-file-alone", ("texts.txt", "'label'", "data.format: tsv"), 3,
             (*TRAIN, "--data.train", "texts.txt"), {"texts.txt": "fine\nawful\n"}),
    BadInput("tables-in-a-list", ("reviews.csv, more.csv", "one file"), 3,
             (*TRAIN, "--data.train", "[reviews.csv, more.csv]"), {"more.csv": REVIEWS}),
)  # fmt: skip

DATA = (*ENCODINGS, *QUOTES, *SHAPES, *VALUES, *JSON, *DISGUISES, *FILES)


# --- what looks bad and is read exactly, with a warning where it may still be a mistake ------------------------------


def _odd(name: str, content: bytes | str, *says: str, options: str = "") -> BadInput:
    return BadInput(name, says, 0, (*CHECK, *options.split()), {"reviews.csv": content})


ALL_WELL = ("Rows: train 22, validation 2", "0 problems, 0 warnings")
PREDICTED = ("NA", "None", "null", "nan", "007", "1e5", "", "  two  blanks  ", "=cmd|'/c calc'!A1")

ACCEPTED = (
    _odd("byte-order-mark", b"\xef\xbb\xbf" + REVIEWS.encode(), *ALL_WELL),
    _odd("line-ends-cr", REVIEWS.replace("\n", "\r"), *ALL_WELL),
    _odd("line-ends-mixed", REVIEWS.replace("good\n", "good\r\n"), *ALL_WELL),
    _odd("no-line-end-at-the-end", REVIEWS.rstrip("\n"), *ALL_WELL),
    _odd("blank-lines-between", REVIEWS.replace("\n", "\n\n"), *ALL_WELL),
    _odd("columns-that-nobody-asked-for", REVIEWS.replace(",", ",7,").replace("text,7", "text,stars"), *ALL_WELL),
    _odd("quotes-doubled", csv('"he said ""hi, bye"" twice",good'), "Rows: train 23", "0 warnings"),
    _odd("line-end-in-quotes", csv('"the book\nwas great",good'), "Rows: train 23", "0 warnings"),
    _odd("rows-swallowed-perhaps", csv('"the book was great,good\nthe film was awful,bad\nthe soup",good'),
         "Rows: train 23", "line 4", "may have swallowed rows", "0 problems"),
    _odd("single-quotes", REVIEWS.replace("the ", "'the ").replace(",", "',").replace("text'", "text"),
         "single quotes", "part of the text"),
    _odd("quote-after-a-blank", csv(' "the book was great",good'), "a blank and then a quote", "0 problems"),
    _odd("excel-names-the-delimiter", "sep=;\n" + REVIEWS.replace(",", ";"), "Rows: train 22", "'sep=;'", "0 problems"),
    _odd("delimiter-at-the-end-of-all-rows", REVIEWS.replace("good\n", "good,\n").replace("bad\n", "bad,\n"),
         "all 24 rows end in ','", "0 problems"),
    _odd("text-blank", csv("  ,good"), "empty or blank column 'text': 1", "reviews.csv, line 4", "0 problems"),
    _odd("text-of-10-megabytes", csv(f"{'a' * 10_000_000},good"), "Rows: train 23, validation 2",
         "longer than 100,000 characters: 1", "reviews.csv, line 4", "tokens of train", "lost to data.max_length"),
    _odd("text-in-the-wrong-encoding-before", csv("the cafÃ© was great,good"), "wrong encoding", "line 4"),
    _odd("text-with-two-labels", csv(ROWS[0].replace("good", "bad")), "under another label: 1", "line 2", "line 4"),
    _odd("text-written-in-odd-characters", csv("a\u200b \u202ereview\u202c 🙂 e" + "\u0301" * 5000 + ",good"),
         "Rows: train 23", "0 problems"),
    _odd("label-in-two-spellings", csv("the book was great,Good"), "case, blanks or Unicode form", "'Good'", "line 4"),
    _odd("label-as-a-fraction", REVIEWS.replace("good", "1.0").replace("bad", "0.0"), "written as fractions: 2"),
    _odd("label-of-one-row", csv("the book was fair,mixed"), "with one row only", "mixed", "0 problems"),
    _odd("labels-01-and-1-and-1.0", csv("the book was fair,01", "the film was fair,1", "the room was fair,1.0"),
         "with one row only: 3", "line 4", "line 5", "line 6", "0 problems"),
    BadInput("rows-shared-with-test", ("Rows of test whose text is also in train: 22", "0 problems"), 0,
             (*CHECK, "--data.test", "reviews.csv")),
    BadInput("paraphrases-read-as-they-are", ("Rows: train 25, validation 3", "0 problems"), 0,
             (*CHECK, *PAIRS, "--data.quoting", "none"), {"pairs.tsv": PARAPHRASES}),
    BadInput("texts-that-look-like-nothing", tuple(json.dumps({"text": text})[:-1] for text in PREDICTED), 0,
             ("predict", "run", "-"), needs_run=True, standard_input="\n".join([*PREDICTED, ""]).encode()),
)  # fmt: skip
"""Each with what the command prints on its standard output."""
