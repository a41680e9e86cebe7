"""Bytes to text, strictly: a wrong byte is named by line and offset, with a guess at the encoding, never replaced."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

import charset_normalizer

from headway.data.formats.archive import File, check_kind, opened
from headway.data.formats.content import Complaints
from headway.data.options import is_utf8
from headway.errors import DataError

# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_BYTES_FOR_GUESS = 100_000
# The first bytes of a character in UTF-8 whose last ones are missing, at the end of a file.
_CUT_CHARACTER = re.compile(rb"([\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})\Z")
_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")


@contextmanager
def opened_text(file: File, encoding: str | None, *, may_be_empty: bool = False) -> Iterator[TextIO]:
    """Open a file as text whose line ends (CR, LF, CRLF) are told apart but not changed.

    Raises:
        DataError: it cannot be read, is no text, or holds a byte that is wrong in this encoding.
    """
    check_kind(file, may_be_empty=may_be_empty)
    try:
        with opened(file) as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8-sig" if is_utf8(encoding) else encoding, newline="")
            try:
                yield text
            finally:
                text.detach()  # so that it does not close a stream which is not its own
    except UnicodeError:
        raise _wrong_bytes(file, encoding or "utf-8") from None


def lines_of(text: TextIO) -> Iterator[str]:
    """Yield the lines of a text without their ends."""
    for line in text:
        if line.endswith("\r\n"):
            yield line[:-2]
        elif line.endswith(("\n", "\r")):
            yield line[:-1]
        else:
            yield line


def read_text(file: File, encoding: str | None) -> str:
    """Return the whole of a file, which may be empty, as text; its line ends are unchanged."""
    with opened_text(file, encoding, may_be_empty=True) as text:
        return text.read()


def _wrong_bytes(file: File, encoding: str) -> DataError:
    with opened(file) as stream:
        content = stream.read()
    for mark, name in _MARKS:
        if content.startswith(mark):
            return DataError(f"{file.name} is encoded in {name.upper()}, not in {encoding}. Set data.encoding: {name}.")
    complaints = Complaints(file.name)
    wrong: list[bytes] = []
    has_other_characters = False
    offset = 0
    # Lines are decoded one by one only where a line end is a byte of its own.
    lines = content.splitlines(keepends=True) if is_utf8(encoding) or len("\n".encode(encoding)) == 1 else [content]
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode(encoding)
            has_other_characters = has_other_characters or not text.isascii()
        except UnicodeError as error:
            start = error.start if isinstance(error, UnicodeDecodeError) else 0
            wrong.append(line)
            complaints.error(
                f"line {number}, byte {offset + start} of the file",
                f"{line[start : start + 1]!r} is not {encoding} text (in {line[max(0, start - 20) : start + 20]!r})",
            )
        offset += len(line)
    complaints.advise(_advice(content, wrong, encoding, has_other_characters=has_other_characters))
    try:
        complaints.raise_errors()
    except DataError as error:
        return error
    return DataError(f"{file.name} is not {encoding} text.")  # the file changed since it was read


def _advice(content: bytes, wrong: list[bytes], encoding: str, *, has_other_characters: bool) -> str:
    """Return what the wrong lines most likely are, and the mend."""
    if not is_utf8(encoding):
        with suppress(UnicodeError):
            content.decode("utf-8")
            return "The file is proper UTF-8: leave data.encoding out."
    elif len(wrong) == 1 and (cut := _CUT_CHARACTER.search(content)) and wrong[0].endswith(cut[0]):
        return "The file ends in the middle of a character, so it was cut short: fetch or write it again."
    elif all(_SURROGATE.search(line) for line in wrong):
        return (
            "These bytes are halves of surrogate pairs, which some programs write for emoji and other rare characters "
            "(CESU-8): write the file again from its source as UTF-8."
        )
    guess = _guess(wrong)
    if has_other_characters and is_utf8(encoding):
        return f"Other lines hold proper UTF-8, so the file mixes encodings (these lines look like {guess}): mend them."
    return f"The text looks like {guess}. If so, set data.encoding: {guess}, or save the file as UTF-8."


def _guess(lines: list[bytes]) -> str:
    content = b"".join(lines)[:_BYTES_FOR_GUESS]
    num_others = sum(byte > 127 for byte in content)
    best = charset_normalizer.from_bytes(content).best()
    # A few accented letters among plain ones fit many code pages; Western European is by far the commonest of them.
    return "cp1252" if best is None or num_others < len(content) / 4 else best.encoding
