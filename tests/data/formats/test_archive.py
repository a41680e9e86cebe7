from __future__ import annotations

import gzip
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from headway.data.formats import archive
from headway.data.table import Table
from headway.errors import DataError

Read = Callable[..., Table]
CSV = b"text,label\nx,a\n"


def zipped(**members: bytes) -> None:
    with zipfile.ZipFile("rows.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)


@pytest.mark.parametrize("name", ["rows.csv.gz", "rows.CSV.GZ"])
def test_the_format_is_seen_through_gzip(name: str, read: Read) -> None:
    table = read(gzip.compress(CSV), name)
    assert table.where(0) == f"{name}, line 2"


def test_the_one_file_in_a_zip_is_read(read: Read) -> None:
    zipped(**{"folder/": b"", "folder/rows.csv": CSV, ".DS_Store": b"x", "__MACOSX/rows.csv": b"x"})
    assert list(read(name="rows.zip")) == [{"text": "x", "label": "a"}]
    zipped(**{"rows.csv.gz": gzip.compress(CSV)})
    assert len(read(name="rows.zip")) == 1


def test_several_tables_in_a_zip_are_refused(read: Read) -> None:
    zipped(**{"train.csv": CSV, "test.csv": CSV})
    with pytest.raises(DataError, match=r"holds 2 files \(train\.csv, test\.csv\)"):
        read(name="rows.zip", format="csv")
    with pytest.raises(DataError, match="a folder for each label"):
        read(name="rows.zip")


@pytest.mark.parametrize("member", ["../rows.csv", "/rows.csv", "a/../../rows.csv", "..\\rows.csv", "C:/rows.csv"])
def test_a_member_that_points_outside_is_refused(member: str, read: Read) -> None:
    zipped(**{member: CSV})
    with pytest.raises(DataError, match="points outside the archive"):
        read(name="rows.zip")


def test_an_encrypted_member_is_refused(read: Read) -> None:
    zipped(**{"rows.csv": CSV})
    content = bytearray(Path("rows.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the table of contents
    with pytest.raises(DataError, match="is encrypted"):
        read(bytes(content), "rows.zip")


@pytest.mark.parametrize("name", ["rows.csv.gz", "rows.zip"])
def test_a_bomb_is_refused(name: str, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "ALWAYS_ALLOWED", 2**20)
    content = CSV + b"x" * 2**22 + b",a\n"
    if name == "rows.zip":
        zipped(**{"rows.csv": content})
    else:
        Path(name).write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match="more than 200 times its compressed size"):
        read(name=name)


DAMAGED = {
    "rows.csv.gz": [CSV, gzip.compress(CSV, mtime=0)[:-12], gzip.compress(CSV, mtime=0)[:-8] + b"\0" * 8],
    "rows.zip": [CSV, b"PK\x03\x04 and no more"],
}


@pytest.mark.parametrize(("name", "content"), [(name, content) for name in DAMAGED for content in DAMAGED[name]])
def test_a_damaged_archive_is_refused(name: str, content: bytes, read: Read) -> None:
    with pytest.raises(DataError, match="not a whole archive"):
        read(content, name)


DISGUISED = {
    "gzip": (gzip.compress(CSV), "ends in .gz"),
    "zip": (b"PK\x03\x04" + b"\0" * 30, "ends in .zip"),
    "workbook": (b"PK\x03\x04" + b"\0" * 26 + b"[Content_Types].xml", "an Excel workbook"),
    "old workbook": (b"\xd0\xcf\x11\xe0", "an Office document"),
    "Parquet": (b"PAR1....", "data.format: parquet"),
    "web page": (b"\n<!DOCTYPE html>\n<html>404</html>", "a web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "nothing": (b"", "is empty (0 bytes)"),
    "PDF": (b"%PDF-1.7", "a PDF document"),
    "xz": (b"\xfd7zXZ\x00", "compressed with xz"),
}


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl", "rows.json", "rows.txt"])
@pytest.mark.parametrize("kind", DISGUISED)
def test_a_file_of_another_kind_is_named(kind: str, name: str, read: Read) -> None:
    content, words = DISGUISED[kind]
    with pytest.raises(DataError) as caught:
        read(content, name)
    assert words in str(caught.value)
    assert str(caught.value).startswith(name)


def test_a_missing_file_brings_the_nearest_name(read: Read) -> None:
    Path("reviews.csv").write_bytes(CSV)
    with pytest.raises(
        DataError, match=r"no file review\.csv\. Did you mean 'reviews\.csv'\? The folder holds reviews\.csv"
    ):
        read(name="review.csv")
    with pytest.raises(DataError, match="no folder nowhere"):
        read(name="nowhere/rows.csv")
    with pytest.raises(DataError, match=r"no folder reviews\.csv"):
        read(name="reviews.csv/rows.csv")


def test_a_folder_in_place_of_a_file_is_told(read: Read) -> None:
    Path("rows.csv").mkdir()
    Path("rows.csv/inside.csv").touch()
    with pytest.raises(DataError, match=r"is a folder that holds inside\.csv"):
        read(name="rows.csv", format="csv")


def test_a_file_in_place_of_a_folder_is_told(read: Read) -> None:
    with pytest.raises(DataError, match="needs a folder or a zip"):
        read(CSV, format="folder")


def test_links_and_pipes_that_give_nothing_are_told(read: Read) -> None:
    Path("loop.csv").symlink_to("loop.csv")
    with pytest.raises(DataError, match="symbolic links"):
        read(name="loop.csv")
    Path("dead.csv").symlink_to("nowhere.csv")
    with pytest.raises(DataError, match="a link to a file that does not exist"):
        read(name="dead.csv")
    os.mkfifo("pipe.csv")
    with pytest.raises(DataError, match="a pipe or a device"):
        read(name="pipe.csv")


def test_a_file_that_may_not_be_read_is_told(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    Path("rows.csv").write_bytes(CSV)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"rows\.csv: cannot be read: Permission denied"):
        read()


def test_a_file_that_disappears_is_told(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    find = archive.find
    Path("rows.csv").write_bytes(CSV)
    place = find("rows.csv")
    monkeypatch.setattr(archive, "find", lambda path: place)
    with (
        pytest.raises(DataError, match="disappeared while it was read"),
        archive.opened(archive.File("rows.csv", Path("gone.csv"))),
    ):
        pass


def test_a_name_without_a_known_ending_needs_a_format(read: Read) -> None:
    with pytest.raises(DataError, match=r"does not tell the format\. Set data\.format to one of csv, tsv"):
        read(CSV, "rows")
    assert len(read(CSV, "rows", format="csv")) == 1
