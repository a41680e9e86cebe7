from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.data.options import DataOptions
from headway.data.table import Table
from headway.errors import DataError
from headway.types import Column

Read = Callable[..., Table]

ACCEPTED = {
    "doubled quotes": ('text,label\n"say ""hi""",a\n', ['say "hi"'], [2]),
    "line ends in quotes": ('text,label\n"one\ntwo\r\nthree",a\nfour,b\n', ["one\ntwo\r\nthree", "four"], [2, 5]),
    "blank lines": ("\ntext,label\n\nx,a\n\n\ny,b\n\n", ["x", "y"], [4, 7]),
    "CR only": ("text,label\rx,a\ry,b\r", ["x", "y"], [2, 3]),
    "mixed line ends": ("text,label\r\nx,a\ny,b\rz,c", ["x", "y", "z"], [2, 3, 4]),
    "byte order mark": ("\ufefftext,label\nx,a\n", ["x"], [2]),
    "words for nothing": ("text,label\nNA,a\nNone,a\nnull,a\nnan,a\n", ["NA", "None", "null", "nan"], [2, 3, 4, 5]),
    "numbers": ("text,label\n123,01\n1e5,1\n", ["123", "1e5"], [2, 3]),
    "blanks": ("text,label\n x  ,a\n\t,a\n", [" x  ", "\t"], [2, 3]),
    "empty text": ("text,label\n,a\n", [""], [2]),
    "odd characters": (
        "text,label\n\u200b\u202e e\u0301😀\u2028\x0b\x85,a\n",
        ["\u200b\u202e e\u0301😀\u2028\x0b\x85"],
        [2],
    ),
    "formula": ("text,label\n=cmd|' /C calc'!A0,a\n", ["=cmd|' /C calc'!A0"], [2]),
    "unnamed first column": (",text,label\n0,x,a\n", ["x"], [2]),
    "other columns": ("id,label,text,note\n7,a,x,\n", ["x"], [2]),
    "apostrophes": ("text,label\n'tis,a\ndon't,b\n", ["'tis", "don't"], [2, 3]),
    "quote inside a field": ('text,label\n5" screen,a\n', ['5" screen'], [2]),
    "prose of several lines": ('text,label\n"Hi, all\nsee, I wrote\nbye",a\n', ["Hi, all\nsee, I wrote\nbye"], [2]),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_right_is_read_byte_for_byte(name: str, read: Read) -> None:
    content, texts, lines = ACCEPTED[name]
    table = read(content)
    assert table.column("text") == texts
    assert [table.where(row) for row in range(len(table))] == [f"rows.csv, line {line}" for line in lines]
    assert table.warnings == ()


def test_labels_keep_their_spelling(read: Read) -> None:
    assert read("text,label\nx,01\ny,1\nz,1.0\n").column("label") == ["01", "1", "1.0"]


REFUSED = {
    "quote never closed": ('text,label\nx,a\n"never,b\nlast,c\n', ["lines 3 to 4", "never closed"]),
    "quote closed early": ('text,label\n"hi" bye,a\nx,b\n', ["line 2", "goes on after"]),
    "backslash before a quote": ('text,label\n"say \\"hi\\"",a\n', ["line 2", "backslash"]),
    "comma in an unquoted field": ('text,label\nhe said "hi, bye",pos\n', ["line 2", "2 fields expected, 3 found"]),
    "comma in every row": ("text,label\na, b,x\nc, d,y\n", ["line 2", "line 3"]),
    "extra field": ("text,label\nx,a\ny,b,c\n", ["line 3", "3 found", "y,b,c"]),
    "short row": ("text,label\nx,a\ny\n", ["line 3", "1 found", "missing"]),
    "delimiter at some line ends": ("text,label\nx,a,\ny,b\n", ["line 2", "ends in a delimiter"]),
    "header only": ("text,label\n", ["no rows, only a header"]),
    "blank lines only": ("\n\n\n", ["blank lines only"]),
    "no header": ("great film,1\nbad film,0\n", ["no column 'text'", "'great film', '1'", "data.column_names"]),
    "header twice": ("text,label\nx,a\ntext,label\ny,b\n", ["line 3", "header stands here again"]),
    "column twice": ("text,label,label\nx,a,b\n", ["'label' stands 2 times"]),
    "column in other letters": ("Text ,label\nx,a\n", ["Did you mean 'Text '?"]),
    "column misspelt": ("texts,labels\nx,a\n", ["Did you mean 'texts'?", "Did you mean 'labels'?"]),
    "semicolons": ("text;label\nx;a\n", ["semicolon", "data.delimiter: ';'"]),
    "tabs in .csv": ("text\tlabel\nx\ta\n", ["a tab", r"data.delimiter: '\t'"]),
    "bars": ("text|label\nx|a\n", ["a bar"]),
    "NUL byte": ("text,label\nx\0y,a\n", ["line 2", "'text' holds a NUL byte"]),
    "NUL byte in a label": ("text,label\nx,a\0\n", ["line 2", "NUL byte"]),
    "empty label": ("text,label\nx,a\ny,\nz, \n", ["line 3", "line 4", "the label is empty"]),
    "UTF-16 without a mark": ("text,label\nx,a\n".encode("utf-16-le"), ["NUL bytes", "utf-16-le"]),
    "too many columns": (",".join(f"c{number}" for number in range(10_000)) + "\n", ["10,000 columns"]),
    "broken quote in the header": ('text,"lab"el\nx,a\n', ["line 1", "goes on after"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_named_with_its_place(name: str, read: Read) -> None:
    content, words = REFUSED[name]
    with pytest.raises(DataError) as caught:
        read(content)
    message = str(caught.value)
    assert message.startswith("rows.csv")
    assert [word for word in words if word not in message] == []


WARNED = {
    "quote closed rows later": ('text,label\n"one,a\ntwo,b\nthree",c\n', 1, "may have swallowed rows"),
    "delimiter at all line ends": ("text,label\nx,a,\ny,b,\n", 2, "all 2 rows end in ','"),
    "delimiter at all line ends and the header's": ("text,label,\nx,a,\n", 1, "last column has no name"),
    "quote after a blank": ('text,label\n "x",a\n', 1, "a blank and then a quote"),
    "single quotes": ("text,label\n'x','a'\n'y','b'\n", 2, "single quotes"),
    "Excel's first line": ("sep=;\ntext;label\nx;a\n", 1, "taken as the delimiter's name"),
}


@pytest.mark.parametrize("name", WARNED)
def test_what_is_odd_is_read_with_a_warning(name: str, read: Read) -> None:
    content, num_rows, words = WARNED[name]
    table = read(content)
    assert len(table) == num_rows
    assert any(words in warning for warning in table.warnings)


def test_lines_are_counted_on_after_excels_first_line(read: Read) -> None:
    assert read("sep=;\ntext;label\nx;a\n").where(0) == "rows.csv, line 3"


def test_all_bad_rows_are_counted_and_the_first_are_shown(read: Read) -> None:
    with pytest.raises(DataError) as caught:
        read("text,label\n" + "x,a\ny\n" * 50)
    lines = str(caught.value).splitlines()
    assert sum("2 fields expected" in line for line in lines) == 20
    assert lines[19].startswith("rows.csv, line 41:")
    assert "and 30 more errors" in lines[20]


def test_reading_goes_on_after_a_broken_quote(read: Read) -> None:
    with pytest.raises(DataError) as caught:
        read('text,label\n"a"b,x\nfine,y\nshort\n"c"d,z\n')
    *errors, first_advice, second_advice = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in errors] == [f"rows.csv, line {number}" for number in (2, 4, 5)]
    assert first_advice.startswith('Write a quote inside quotes twice ("")')
    assert second_advice == "Fields are missing."


def test_tabs_separate_a_tsv_and_quotes_may_be_plain(read: Read) -> None:
    content = 'text\tlabel\n"open, and\ta\nend "quote"\tb\n'
    table = read(content, "rows.tsv", quoting="none")
    assert table.column("text") == ['"open, and', 'end "quote"']


def test_a_quote_that_swallows_tabs_is_an_error_until_minimal_is_asked_for(read: Read) -> None:
    content = 'text\tlabel\n"one\ta\ntwo\tb\nthree"\tc\n'
    with pytest.raises(DataError, match=r"(?s)line 2: .*quoting: none.*quoting: minimal"):
        read(content, "rows.tsv")
    table = read(content, "rows.tsv", quoting="minimal")
    assert table.column("text") == ["one\ta\ntwo\tb\nthree"]
    assert "swallowed" in table.warnings[0]


def test_names_stand_in_for_a_header(read: Read) -> None:
    table = read("1\tgood\n0\tbad\n", "rows.tsv", column_names=["label", "text"])
    assert table[0] == {"text": "good", "label": "1"}
    assert table.where(0) == "rows.tsv, line 1"


def test_names_for_a_file_that_has_a_header_are_refused(read: Read) -> None:
    with pytest.raises(DataError, match=r"line 1: the file has a header after all"):
        read("sentence,label\nx,a\n", column_names=["text", "label"])


def test_another_delimiter_than_expected_is_named_for_headerless_files(read: Read) -> None:
    with pytest.raises(DataError, match=r"separated by a semicolon: data\.delimiter: ';'"):
        read("x;a\ny;b\n", column_names=["text", "label"])
    assert len(read("x;a\ny;b\n", column_names=["text", "label"], delimiter=";")) == 2


def test_a_text_of_ten_megabytes_is_read_and_the_process_keeps_its_limit(read: Read) -> None:
    before = csv.field_size_limit()
    table = read("text,label\n" + "word " * 2_000_000 + ",a\n")
    assert len(table[0]["text"]) == 10_000_000
    assert csv.field_size_limit() == before


def test_gold_is_not_read_where_it_is_not_needed(read: Read) -> None:
    table = read("text,label\nx,\n", need_gold=False)
    assert table.column_names == ["text"]
    assert read("text\nx\n", need_gold=False)[0] == {"text": "x"}


def test_a_file_of_one_column_may_repeat_its_header_and_warns_of_blank_lines(read: Read) -> None:
    table = read('text\n\nx\n""\ntext\n', need_gold=False)
    assert table.column("text") == ["x", "", "text"]
    assert table.warnings == (
        "rows.csv: line 5 repeats the header; it is read as a row.",
        "rows.csv: blank lines (1) are no rows; an empty text is written as two quotes.",
    )


COLUMNS = (Column("text", "text", True, ""), Column("label", "label", True, ""))
field = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
tricky = st.text(st.sampled_from(list("ab,;\"'\t\r\n \\\ufeff=é😀")), max_size=8)
rows = st.lists(st.tuples(field | tricky, (field | tricky).filter(str.strip)), min_size=1, max_size=8)


@settings(deadline=None)
@given(rows=rows, end=st.sampled_from(["\n", "\r\n", "\r"]), delimiter=st.sampled_from(",;\t"))
def test_what_a_csv_writer_writes_is_read_back(
    rows: list[tuple[str, str]], end: str, delimiter: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if ["text", "label"] in map(list, rows):
        return
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    lines = []
    writer.writerow(["text", "label"])
    for row in rows:
        # Counted as an editor does: each of CR LF, CR and LF ends one line.
        lines.append(text.getvalue().replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1)
        writer.writerow(row)
    path = tmp_path_factory.getbasetemp() / "round.csv"
    path.write_bytes(text.getvalue().encode())
    options = DataOptions(train=str(path), delimiter=delimiter, quoting="minimal")
    table = Table.read(str(path), options=options, columns=COLUMNS, need_gold=True)
    assert list(zip(table.column("text"), table.column("label"), strict=True)) == rows
    assert [table.where(number) for number in range(len(table))] == [f"{path}, line {line}" for line in lines]


@settings(deadline=None)
@given(content=st.binary(max_size=200) | st.text(st.sampled_from('textlabel,"\n\r\t;x'), max_size=80).map(str.encode))
def test_any_bytes_are_read_or_refused_in_words(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(b"text,label\n" + content)
    try:
        table = Table.read(str(path), options=DataOptions(train=str(path)), columns=COLUMNS, need_gold=True)
        refused = None
    except DataError as error:
        refused = str(error)
    assert str(path) in refused if refused else all(row["label"].strip() for row in table)


def test_a_quoted_file_that_is_read_without_quoting_is_remarked_on(read: Read) -> None:
    content = 'text,label\n"he said ""no""",x\n"fine",y\n"" or nothing,x\n"he said ""yes""",y\n'
    assert read(content, quoting="none").warnings == (
        "rows.csv: 2 fields of column 'text' (line 2, 5) stand in quotes, with the quotes inside written twice; they "
        "are read as they stand. Leave data.quoting out if quotes enclose a field in this file.",
    )
