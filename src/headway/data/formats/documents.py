"""Plain text to learn a language from: each line, each paragraph or each file is one document, one row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from headway.data.formats.archive import File, check_kind, find, is_zip, tree
from headway.data.formats.content import Complaints, Content, ContentBuilder, Wanted
from headway.data.formats.decoding import lines_of, opened_text, read_text
from headway.data.options import Source
from headway.errors import DataError

LONG_PARAGRAPH = 100_000
"""Characters from which the only paragraph of a file looks like many whose bounds were missed."""


def read(source: Source, *, wanted: Wanted, complaints: Complaints) -> Content:
    """Return the documents of a text file, of several, or of all text files in a folder or zip, as column ``text``.

    ``data.document`` says what a document is. Lines of a paragraph are joined by a blank; a line of blanks only counts
    as blank, and blank lines are no documents. A file is read line by line, so it may be far larger than memory allows
    a single string to be.

    Raises:
        DataError: there is no text, or a file cannot be read.
    """
    names = list(source.column_names or ["text"])
    if len(names) != 1:
        raise DataError(f"{complaints.name}: plain text gives one column, 'text'; data.column_names: {names}.")
    wanted.choose(names, source=complaints.name, hint="Plain text gives the one column 'text'.")
    with _files(source, complaints) as files:
        documents = source.document or ("paragraph" if len(files) == 1 else "file")
        single = len(files) == 1 and documents != "file"
        builder = ContentBuilder(names, unit="line" if single else "")
        text = ""
        for name, file in files.items():
            for number, text in _documents(file, source, documents):
                place = name if documents == "file" else f"{name}, line {number}"
                builder.append([text], number if single else place)
        if documents == "paragraph" and len(builder) == 1 and len(text) > LONG_PARAGRAPH:
            complaints.warn(
                f"no line is blank, so all {len(text):,} characters are one paragraph. If each line is a document, set "
                "data.document: line."
            )
    if not len(builder):
        raise DataError(f"{complaints.name} holds no text: there is no {documents} that is not blank.")
    return builder.build()


@contextmanager
def _files(source: Source, complaints: Complaints) -> Iterator[dict[str, File]]:
    """Give the text files behind a source by their names in messages."""
    if isinstance(source.path, str):
        place = find(source.path)
        if place.is_dir() or is_zip(place):
            with tree(source.path) as found:
                yield _texts(found, source.path, complaints)
            return
    paths = [source.path] if isinstance(source.path, str) else source.path
    if folders := [path for path in paths if find(path).is_dir()]:
        raise DataError(f"{folders[0]} is a folder. Name one folder alone, or a list of text files.")
    yield {path: File(path, find(path)) for path in paths}


def _texts(found: dict[PurePosixPath, File], source: str, complaints: Complaints) -> dict[str, File]:
    texts = {str(name): file for name, file in found.items() if file.suffix == ".txt"}
    if not texts:
        shown = ", ".join(map(str, list(found)[:5])) + (", ..." if len(found) > 5 else "")
        raise DataError(
            f"{source} holds no .txt file, only {shown or 'nothing'}. Name the file or folder of the texts."
        )
    if beside := [str(name) for name in found if str(name) not in texts]:
        shown = ", ".join(beside[:5]) + (", ..." if len(beside) > 5 else "")
        complaints.warn(f"files that are no .txt are not read: {shown} ({len(beside):,} in all).")
    return texts


def _documents(file: File, source: Source, documents: str) -> Iterator[tuple[int, str]]:
    """Yield each document of a file that is not blank, with the number of its first line."""
    if documents == "file":
        text = read_text(file, source.encoding).replace("\r\n", "\n").replace("\r", "\n").strip()
        if text:
            yield 1, text
        return
    check_kind(file, may_be_empty=True)
    paragraph: list[str] = []
    first = 0
    with opened_text(file, source.encoding, may_be_empty=True) as lines:
        for number, line in enumerate(lines_of(lines), 1):
            words = line.strip()
            if words:
                first = first if paragraph else number
                paragraph.append(words)
            if paragraph and (documents == "line" or not words):
                yield first, " ".join(paragraph)
                paragraph = []
    if paragraph:
        yield first, " ".join(paragraph)
