"""Finds and opens the files behind a path: plain, gzip, or members of a zip, which is never unpacked to disk.

A file that is not what its name says (a web page saved as CSV, a workbook renamed) is refused before it is parsed.
"""

from __future__ import annotations

import gzip
import io
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from headway.errors import DataError, did_you_mean

MAX_EXPANSION = 200
"""Times its compressed size to which an archive may grow; text shrinks to a tenth, a bomb to a thousandth."""
ALWAYS_ALLOWED = 256 * 2**20
"""Bytes to which any archive may grow, whatever its compressed size."""

_DISGUISES = (
    (b"PAR1", "a Parquet file", "set data.format: parquet"),
    (b"\x1f\x8b", "compressed with gzip", "give it a name that ends in .gz"),
    (b"BZh", "compressed with bzip2", "unpack it first; .gz and .zip are read as they are"),
    (b"\xfd7zXZ\x00", "compressed with xz", "unpack it first; .gz and .zip are read as they are"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstandard", "unpack it first; .gz and .zip are read as they are"),
    (b"\xd0\xcf\x11\xe0", "an Office document", "save the sheet as CSV (UTF-8)"),
    (b"SQLite format 3\x00", "an SQLite database", "export the table as CSV"),
    (b"%PDF", "a PDF document", "convert it to text first"),
    (b"ARROW1", "an Arrow file", "save it as Parquet"),
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the data", "fetch them with `git lfs pull`"),
)


@dataclass(frozen=True)
class File:
    """A file that can be opened, wherever it lies."""

    name: str
    """Its name in messages."""
    path: Path
    member: str | None = None
    """Its name in the zip file at ``path``."""
    archive: zipfile.ZipFile | None = None
    """The zip file, where many of its members are read in turn."""

    @property
    def suffix(self) -> str:
        """The ending that tells the format, without the compression's."""
        inner = PurePosixPath(self.member or self.path.name)
        return (PurePosixPath(inner.stem) if inner.suffix.lower() == ".gz" else inner).suffix.lower()


def find(path: str) -> Path:
    """Return the path if something readable lies there.

    Raises:
        DataError: nothing is there, it is no file or folder, or the system refuses it.
    """
    place = Path(path)
    try:
        mode = place.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(_missing(place)) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be opened: {_reason(error)}.") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise DataError(f"{path} is a pipe or a device, not a file. Write its content to a file and name that.")
    return place


def _missing(place: Path) -> str:
    if place.is_symlink():
        return f"{place} is a link to a file that does not exist."
    if not place.parent.is_dir():
        return f"There is no folder {place.parent}, in which {place.name!r} should lie (started from {Path.cwd()})."
    others = sorted(other.name for other in place.parent.iterdir())
    shown = ", ".join(others[:10]) + (", ..." if len(others) > 10 else "")
    return f"There is no file {place}.{did_you_mean(place.name, others)} The folder holds {shown or 'nothing'}."


def single_file(path: str | list[str]) -> File:
    """Return the one file behind a path; a zip must hold exactly one.

    Raises:
        DataError: there is none, or more than one.
    """
    if not isinstance(path, str):
        raise DataError(
            f"A list of files ({', '.join(path[:3])}) is read as parallel line files only. Join tables of one "
            "split into one file, or set data.format: lines."
        )
    place = find(path)
    if place.is_dir():
        inside = ", ".join(sorted(entry.name for entry in place.iterdir())[:10]) or "nothing"
        raise DataError(f"{path} is a folder that holds {inside}. Name a file, or set data.format: folder.")
    if not is_zip(place):
        return File(path, place)
    members = _members(place)
    if len(members) != 1:
        shown = ", ".join(members[:5]) + (", ..." if len(members) > 5 else "")
        raise DataError(
            f"{path} holds {len(members)} files ({shown or 'none'}), where one table is expected. "
            "Pack one file, or a folder for each label (data.format: folder)."
        )
    return File(f"{path} ({members[0]})", place, members[0])


@contextmanager
def tree(path: str) -> Iterator[dict[PurePosixPath, File]]:
    """Give the files in a folder or a zip by their place in it, in order of name. Hidden files are none of ours."""
    place = find(path)
    if place.is_dir():
        files = {PurePosixPath(file.relative_to(place)): file for file in place.rglob("*") if file.is_file()}
        yield {name: File(str(file), file) for name, file in sorted(files.items()) if not _is_hidden(name)}
    elif is_zip(place):
        members = sorted(_members(place))
        with _complaining(path), zipfile.ZipFile(place) as archive:
            yield {PurePosixPath(name): File(f"{path}, {name}", place, name, archive) for name in members}
    else:
        raise DataError(
            f"{path} is one file; data.format: folder needs a folder or a zip with a folder for each label."
        )


def is_zip(place: Path) -> bool:
    """Whether the name says that the file is a zip archive."""
    return place.suffix.lower() == ".zip"


def _is_hidden(name: PurePosixPath) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.parts)


def _members(place: Path) -> list[str]:
    with _complaining(str(place)), zipfile.ZipFile(place) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
    packed, unpacked = sum(info.compress_size for info in infos), sum(info.file_size for info in infos)
    if unpacked > max(ALWAYS_ALLOWED, MAX_EXPANSION * packed):
        raise DataError(_bomb(str(place)))
    for info in infos:
        name = PurePosixPath(info.filename)
        if name.is_absolute() or ".." in name.parts or "\\" in info.filename or ":" in name.parts[0]:
            raise DataError(f"{place}: the member {info.filename!r} points outside the archive; it is not read.")
        if info.flag_bits & 1:
            raise DataError(f"{place}: {info.filename} is encrypted. Unpack it with its password first.")
    return [info.filename for info in infos if not _is_hidden(PurePosixPath(info.filename))]


@contextmanager
def opened(file: File) -> Iterator[BinaryIO]:
    """Open a file for reading its bytes, decompressed.

    Raises:
        DataError: the system refuses it, the archive is damaged or a bomb, or the content is of another kind.
    """
    with _complaining(file.name):
        if file.member is not None and file.archive is not None:
            with file.archive.open(file.member) as member:
                yield cast(BinaryIO, _unzipped(file, member, file.member))
        elif file.member is not None:
            with zipfile.ZipFile(file.path) as archive, archive.open(file.member) as member:
                yield cast(BinaryIO, _unzipped(file, member, file.member))
        else:
            with file.path.open("rb") as stream:
                yield cast(BinaryIO, _unzipped(file, stream, file.path.name))


def _unzipped(file: File, stream: IO[bytes], name: str) -> IO[bytes]:
    if not name.lower().endswith(".gz"):
        return stream
    limit = max(ALWAYS_ALLOWED, MAX_EXPANSION * file.path.stat().st_size)
    return io.BufferedReader(_Limited(gzip.GzipFile(fileobj=stream), limit=limit, name=file.name), 2**18)


class _Limited(io.RawIOBase):
    """A stream that ends in an error where a compressed file grows beyond reason."""

    def __init__(self, stream: gzip.GzipFile, *, limit: int, name: str) -> None:
        self._stream, self._left, self._name = stream, limit, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        count = self._stream.readinto(buffer)
        self._left -= count
        if self._left < 0:
            raise DataError(_bomb(self._name))
        return count


def _bomb(name: str) -> str:
    return (
        f"{name} grows to more than {MAX_EXPANSION} times its compressed size, which text does not. "
        "If you trust it, unpack it and name the file inside."
    )


@contextmanager
def _complaining(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{name} disappeared while it was read.") from None
    except (gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{name} is not a whole archive of the kind its name says: {error}. Fetch it again.") from error
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {_reason(error)}.") from error


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def check_kind(file: File, *, is_parquet: bool = False, may_be_empty: bool = False) -> None:
    """Look at the first bytes of a file.

    Raises:
        DataError: it is empty, or of a kind that its name or ``data.format`` does not say.
    """
    with opened(file) as stream:
        head = stream.read(512)
    if not head and not may_be_empty:
        raise DataError(f"{file.name} is empty (0 bytes).")
    if is_parquet:
        if not head.startswith(b"PAR1"):
            raise DataError(f"{file.name} is not a Parquet file: it does not begin with PAR1. Set data.format.")
        return
    for magic, kind, mend in _DISGUISES:
        if head.startswith(magic):
            raise DataError(f"{file.name} is {kind}: {mend}.")
    if head.startswith(b"PK\x03\x04"):
        kind, mend = ("a zip archive", "give it a name that ends in .zip")
        if b"xl/" in head or b"[Content_Types].xml" in head:
            kind, mend = ("an Excel workbook", "save the sheet as CSV (UTF-8)")
        raise DataError(f"{file.name} is {kind}: {mend}.")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        raise DataError(f"{file.name} is a web page, often an error page saved in place of the data: fetch it again.")
