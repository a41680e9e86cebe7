"""The recipe's `data` section: where the rows come from, how they are read, and how much of a text the model sees."""

from __future__ import annotations

import codecs
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from headway.types import Options

Format = Literal[
    "csv", "tsv", "jsonl", "json", "parquet", "lines", "folder", "trees", "text", "semeval", "conll", "brat", "squad",
    "hub",
]  # fmt: skip
HUB_PREFIX = "hub:"


def _labels_as_text(value: Any) -> Any:
    """Turn whole numbers, which YAML makes of `1: World`, back into the text that stands in a file."""
    if not isinstance(value, dict):
        return value
    pairs = {}
    for raw, name in value.items():
        for part in (raw, name):
            if isinstance(part, bool) or not isinstance(part, str | int):
                raise ValueError(f"put {part!r} in quotes, so that it reads exactly as in the file")
        pairs[str(raw)] = str(name)
    return pairs


class ReadingOptions(Options):
    """How a file is read. What is left empty follows from the file's name, or is the usual choice."""

    format: Format | None = None
    """`csv`, `tsv`, `jsonl`, `json` (one object or list), `parquet`, `lines` (parallel files, one for each column),
    `folder` (one folder of text files for each label), `trees` (bracketed trees with a label at each node), `text`
    (documents of plain text, see `document`), `semeval` (sentences with two marked entities and their relation),
    `conll` (a token and its tags on each line, sentences apart by blank lines), `brat` (texts, each with a file of its
    spans), `squad` (questions about paragraphs, in one JSON file) or `hub`; empty: from the file name, looking through
    `.gz` and `.zip`."""
    document: Literal["line", "paragraph", "file"] | None = None
    """What one document of a `text` source is: a `line`, a `paragraph` (lines up to a blank one; also when empty), or
    a whole `file` (also when empty, for a folder or zip of several .txt files)."""
    columns: dict[str, str | list[str]] | None = None
    """Column of the task -> column of the file (`{text: review, label: stars}`); several columns of the file are
    joined by a blank. Columns that bear the task's name need no entry."""
    column_names: list[str] | None = None
    """Names of the columns of a file without a header, in their order; empty: the first line holds them."""
    delimiter: str | None = None
    """The one character between two fields; empty: a comma for `csv`, a tab for `tsv`."""
    quoting: Literal["minimal", "none"] | None = None
    """`minimal` (also when empty): quotes may enclose a field; `none`: a quote is a character like any other."""
    encoding: str | None = None
    """Encoding of the text; empty: UTF-8, with or without a byte order mark. A wrong byte is always an error."""
    field: str | None = None
    """Key of the list of rows in a `json` file that holds one object (`train` in `{"train": [...], "test": [...]}`)."""
    label_names: Annotated[dict[str, str] | str | None, BeforeValidator(_labels_as_text)] = None
    """Names of the labels that the file gives as codes: `{0: negative, 1: positive}`, or the path of a text file with
    one name a line (the first line names 0) or with lines of code, tab, name."""
    label_delimiter: str | None = None
    """For rows with several labels: what separates them in their field; an empty field then means no label. Where a
    token has several tags: what separates them; the first counts."""
    unlabelled: Literal["refuse", "leave_out"] | None = None
    """Rows without a gold value where one is needed: `refuse` (also when empty) names them all, `leave_out` reads the
    others and says how many were left out."""

    @field_validator("encoding")
    @classmethod
    def _is_encoding(cls, value: str | None) -> str | None:
        try:
            known = value is None or isinstance("".encode(value), bytes)
        except LookupError:
            known = False
        if not known:
            raise ValueError("this is not a text encoding that Python knows; usual ones are utf-8, cp1252, utf-16")
        return value

    @field_validator("delimiter")
    @classmethod
    def _is_one_character(cls, value: str | None) -> str | None:
        if value in ("\\t", "tab"):  # how a shell user can type it
            return "\t"
        if value is not None and (len(value) != 1 or value in '"\r\n'):
            raise ValueError("the delimiter is one character, and neither a quote nor a line end")
        return value


class Source(ReadingOptions):
    """Rows of one split that are read in another way than the rest: a path, and what differs."""

    path: str | list[str]
    """File, folder, `hub:name/config[split]`, or a list of parallel line files."""


def _as_plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_as_plain(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _kind_of_source(value: Any) -> str | None:
    if isinstance(value, str | os.PathLike):
        return "path"
    if isinstance(value, list | tuple):
        return "files"
    if isinstance(value, dict | Source):
        return "source"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "share"
    return None


Text = Annotated[Annotated[str, BeforeValidator(_as_plain)], Tag("path")]
Files = Annotated[Annotated[list[str], BeforeValidator(_as_plain)], Tag("files")]
Given = Annotated[Source, Tag("source")]
Share = Annotated[Annotated[float, Field(gt=0, lt=1)], Tag("share")]

AnySource = Annotated[
    Text | Files | Given,
    Discriminator(
        _kind_of_source,
        custom_error_type="source",
        custom_error_message="this must be a path, a list of paths, or a mapping with 'path'",
    ),
]
SourceOrShare = Annotated[
    Text | Files | Given | Share,
    Discriminator(
        _kind_of_source,
        custom_error_type="source",
        custom_error_message="this must be a share of the training rows, a path, a list of paths, or a mapping "
        "with 'path'",
    ),
]


class DataOptions(ReadingOptions):
    """Where the rows come from, how they are read, and how much of a text the model sees."""

    train: AnySource
    """Rows to learn from: a file, a folder, `hub:name/config[split]`, a list of parallel line files, or a mapping of
    `path` and what is read differently here (`{path: test.csv, column_names: [label, text]}`)."""
    validation: SourceOrShare | None = 0.1
    """Rows that choose the best checkpoint: a share of the training rows to hold out, or a source as for `train`;
    null: none."""
    test: AnySource | None = None
    """Rows that are scored once, at the end; a source as for `train`."""
    max_length: int = Field(128, ge=2)
    """Tokens of a text (or of a pair) that the model sees; the rest is cut, counted and reported."""
    truncation: Literal["head", "tail", "head+tail", "window"] = "head"
    """What becomes of a longer text: its beginning (`head`), its end (`tail`) or both without the middle (`head+tail`)
    are kept, or it is read whole in windows of `max_length` tokens whose scores become one (`window`)."""
    doc_stride: int | None = Field(None, ge=0)
    """Tokens that neighbouring windows of a text share; empty: a quarter of `max_length`."""
    window_pooling: Literal["mean", "max", "attention"] = "mean"
    """How the scores of a text's windows become one: their `mean`, their `max`imum for each label, or a mean with
    learnt weights (`attention`)."""
    max_windows: int | None = Field(None, ge=1)
    """Windows of a text that are read; what stands behind them is counted and reported as lost. Empty: all."""
    split_seed: int = Field(0, ge=0)
    """Which rows a `validation` share holds out; apart from `training.seeds`, so all seeds are scored on one split."""
    stratify: bool = True
    """Hold out the same share of every label, where the task has labels."""
    max_train_rows_per_label: int | None = Field(None, ge=1)
    """Learn from at most so many rows of each label (or group), drawn by `split_seed`; the others are not used. For few
    examples, or for a curve of how much more data would help. Empty: all."""

    @model_validator(mode="after")
    def _windows_are_used_and_move_on(self) -> DataOptions:
        if self.truncation != "window":
            for name, is_given in (
                ("window_pooling", self.window_pooling != "mean"),
                ("max_windows", self.max_windows is not None),
            ):
                if is_given:
                    raise ValueError(f"{name} does nothing without truncation: window; set that, or leave {name} out")
        if self.doc_stride is not None and self.doc_stride >= self.max_length:
            raise ValueError(
                f"doc_stride is {self.doc_stride} and max_length {self.max_length}, so windows would not move on; a "
                "quarter of max_length is usual"
            )
        return self

    def reading(self, source: str | os.PathLike[str] | list[str] | Source) -> Source:
        """Return the complete reading options of one source: its own, and those of this section where it has none."""
        if not isinstance(source, Source):
            source = Source(path=_as_plain(source))
        general = {name: getattr(self, name) for name in ReadingOptions.model_fields}
        own = {name: value for name in ReadingOptions.model_fields if (value := getattr(source, name)) is not None}
        return Source(path=source.path, **{**general, **own})

    def relative_to(self, base: Path) -> DataOptions:
        """Return the options with each relative path that does not exist here, but does in ``base``, found there."""
        update: dict[str, Any] = {
            "train": _find(self.train, base),
            "validation": self.validation if isinstance(self.validation, float) else _find(self.validation, base),
            "test": _find(self.test, base),
            "label_names": _find(self.label_names, base) if isinstance(self.label_names, str) else self.label_names,
        }
        return self.model_copy(update=update)


def _find(source: Any, base: Path) -> Any:
    if isinstance(source, list):
        return [_find(path, base) for path in source]
    if isinstance(source, Source):
        names = _find(source.label_names, base) if isinstance(source.label_names, str) else source.label_names
        return source.model_copy(update={"path": _find(source.path, base), "label_names": names})
    if not isinstance(source, str):
        return source
    prefix = HUB_PREFIX if source.startswith(HUB_PREFIX) else ""
    path, bracket, split = source.removeprefix(prefix).partition("[") if prefix else (source, "", "")
    if Path(path).is_absolute() or Path(path).exists() or not (base / path).exists():
        return source
    return f"{prefix}{os.path.normpath(base / path)}{bracket}{split}"


def is_utf8(encoding: str | None) -> bool:
    """Whether the encoding is UTF-8, under any of its names."""
    return encoding is None or codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
