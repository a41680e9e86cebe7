from __future__ import annotations

import codecs
from collections.abc import Callable

import pytest

from headway.data.table import Table
from headway.errors import DataError

Read = Callable[..., Table]


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf-8-sig", None])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_a_byte_order_mark_is_no_text(encoding: str | None, mark: bytes, read: Read) -> None:
    table = read(mark + "text,label\ncafé \ufeff,a\n".encode(), encoding=encoding)
    assert table.column("text") == ["café \ufeff"]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "utf-32", "shift_jis"])
def test_another_encoding_is_read_where_it_is_named(encoding: str, read: Read) -> None:
    text = "日本" if encoding == "shift_jis" else "café"
    assert read(f"text,label\r\n{text},a\r\n".encode(encoding), encoding=encoding).column("text") == [text]


REFUSED = {
    "Latin-1 byte": (
        b"text,label\nx,a\ncaf\xe9 au lait,b\n",
        [r"rows.csv, line 3, byte 18 of the file: b'\xe9' is not utf-8 text", "data.encoding: cp1252"],
    ),
    "Cyrillic": ("text,label\nпривет как дела сегодня,a\n".encode("cp1251"), ["line 2, byte 11", "cp1251"]),
    "truncated at the end": ("text,label\nx,é".encode()[:-1], ["line 2, byte 13"]),
    "encoded surrogate": (b"text,label\n\xed\xa0\x80,a\n", ["line 2, byte 11"]),
    "mixed encodings": ("text,label\ncafé,a\n".encode() + b"caf\xe9,b\n", ["line 3", "mixes encodings", "mend them"]),
    "UTF-16": ("text,label\nx,a\n".encode("utf-16"), ["is encoded in UTF-16", "data.encoding: utf-16"]),
    "UTF-32": ("text,label\nx,a\n".encode("utf-32"), ["is encoded in UTF-32"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_byte_is_named_with_a_guess(name: str, read: Read) -> None:
    content, words = REFUSED[name]
    with pytest.raises(DataError) as caught:
        read(content)
    assert [word for word in words if word not in str(caught.value)] == []


def test_every_line_with_a_wrong_byte_is_counted(read: Read) -> None:
    with pytest.raises(DataError, match="and 5 more errors"):
        read(b"text,label\n" + b"caf\xe9,a\r\n" * 25)


def test_a_named_encoding_is_strict_too(read: Read) -> None:
    with pytest.raises(DataError, match=r"line 2, byte 12 of the file: b'\\x81' is not cp1252"):
        read(b"text,label\nx\x81,a\n", encoding="cp1252")
    with pytest.raises(DataError, match="is not utf-16"):
        read("text,label\nx,a\n".encode("utf-16-le") + b"\0", encoding="utf-16-le")
