"""A vocabulary and a small translation model from nothing, as a folder that a recipe may name as its pretrained model.

The folder is an ordinary one of Hugging Face, and the same texts, options and versions give the same bytes. Beside the
model lie ``vocabulary.json``, which says what it was made from, and a README for a person.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import tokenizers
import torch
import transformers

import headway
from headway.data.options import DataOptions
from headway.data.table import ROWS_AT_ONCE, Table, format_of
from headway.data.vocabulary import BYTES, SPECIAL, train_vocabulary
from headway.errors import DataError, RecipeError, RunBusyError
from headway.files import flush, whole_writes, write_json, write_text
from headway.models.new_model import ModelSize, write_new_model
from headway.recipe import reading_options
from headway.types import Column

FORMAT = 1
ABOUT = "vocabulary.json"
COLUMNS = ("source", "target")
"""The columns of a table that are read where none are named."""


def build_vocabulary(
    files: Sequence[str],
    output: str | Path,
    *,
    columns: Sequence[str] = (),
    reading: Mapping[str, Any] | None = None,
    vocab_size: int = 8000,
    character_coverage: float = 0.9995,
    lowercase: bool = False,
    size: ModelSize | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write a folder with a tokenizer learnt from the texts and a model with random weights; return what was made.

    Args:
        files: of all languages: plain text, one text a line, or tables.
        output: the folder to make, whole or not at all.
        columns: the columns of the tables that hold texts; empty takes ``source`` and ``target``.
        reading: dotted options of a recipe's ``data`` section (``{"data.encoding": "cp1252"}``).
        vocab_size: pieces, with the special tokens and the 256 bytes.
        character_coverage: share of the texts' characters that are pieces; the rarest others become bytes.
        lowercase: whether capital letters are read as small ones.
        size: of the model; empty takes the small one of `ModelSize`.
        seed: draws the weights.
        overwrite: whether a folder that an earlier call made is replaced.

    Raises:
        DataError: a file cannot be read, or the texts do not hold so many pieces.
        RecipeError: options do not go together.
        RunBusyError: the folder holds something.
        RunError: the disk refuses.
    """
    size = size or ModelSize()
    size.check()
    folder = Path(output)
    _check_place(folder, overwrite=overwrite)
    tables = read_texts(files, columns=columns, reading=reading)
    texts = [text for table in tables for name in table.column_names for text in table.column(name)]
    tokenizer = train_vocabulary(
        texts,
        vocab_size=vocab_size,
        max_length=size.max_length,
        lowercase=lowercase,
        character_coverage=character_coverage,
    )
    about: dict[str, Any] = {
        "format": FORMAT,
        "files": [
            {"name": table.name, "columns": table.column_names, "rows": len(table), "sha256": table.fingerprint}
            for table in tables
        ],
        "texts": len(texts),
        "vocab_size": vocab_size,
        "character_coverage": character_coverage,
        "lowercase": lowercase,
        **_measure(tokenizer, texts, max_length=size.max_length),
        "model": asdict(size),
        "seed": seed,
        "versions": {one.__name__: one.__version__ for one in (headway, tokenizers, torch, transformers)},
    }
    writing = folder.with_name(f".{folder.name}.writing-{os.getpid()}")
    previous = folder.with_name(f".{folder.name}.previous-{os.getpid()}")
    with whole_writes(folder):
        try:
            writing.mkdir(parents=True)
            about["parameters"] = write_new_model(writing, tokenizer, size, seed=seed)
            write_json(writing / ABOUT, about)
            write_text(writing / "README.md", _readme(about))
            for path in writing.iterdir():
                flush(path)
            if folder.exists():
                folder.rename(previous)
            writing.rename(folder)
            flush(folder.parent)
        except safetensors.SafetensorError as error:
            # The library's own name for a full disk.
            raise OSError(str(error)) from error
        finally:
            shutil.rmtree(writing, ignore_errors=True)
            if previous.exists() and not folder.exists():
                previous.rename(folder)
            shutil.rmtree(previous, ignore_errors=True)
    return about


def read_texts(
    files: Sequence[str], *, columns: Sequence[str] = (), reading: Mapping[str, Any] | None = None
) -> list[Table]:
    """Return each file's texts as a table; see `build_vocabulary`.

    Plain text is what the name says nothing else of (``train.de``, ``train.de.gz``, ``.txt``), and a folder of such
    files; each of its lines is a text, and blank ones are left out.

    Raises:
        DataError: a file cannot be read as told.
        RecipeError: columns are named, and no file has any.
    """
    tables, num_plain = [], 0
    for file in files:
        options = reading_options(DataOptions(train=file), reading or {})
        is_plain = _is_plain(options)
        num_plain += is_plain
        if is_plain:
            options = options.model_copy(update={"format": "text", "document": options.document or "line"})
        wanted = tuple(
            Column(name, "text", True, "Texts of a language.")
            for name in (("text",) if is_plain else columns or COLUMNS)
        )
        tables.append(Table.read(file, options=options, columns=wanted, need_gold=False))
    if columns and num_plain == len(tables):
        raise RecipeError("--columns names columns of a table, and the files are plain text. Leave it out.")
    return tables


def _is_plain(options: DataOptions) -> bool:
    if options.format is not None:
        return options.format == "text"
    try:
        return format_of(options.reading(options.train)) in ("lines", "folder")
    except DataError:
        # The name says nothing; if there is no such file, reading it will say so.
        return True


def _check_place(folder: Path, *, overwrite: bool) -> None:
    """Complain of an output folder that holds something which is not to be replaced.

    Raises:
        RunBusyError: naming the folder.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RunBusyError(f"{folder} is a file. Choose another --output.")
    if not any(folder.iterdir()):
        return
    if not overwrite:
        raise RunBusyError(
            f"{folder} exists and is not empty. Choose another --output, or replace it with --overwrite."
        )
    if not (folder / ABOUT).is_file():
        raise RunBusyError(
            f"{folder} was not made by `headway vocabulary train` (it has no {ABOUT}), so --overwrite leaves it alone. "
            "Choose another --output."
        )


def _measure(tokenizer: Any, texts: Sequence[str], *, max_length: int) -> dict[str, Any]:
    """Return how many tokens the texts became."""
    num_tokens = num_bytes = longest = num_longer = 0
    for start in range(0, len(texts), ROWS_AT_ONCE):
        for one in tokenizer.backend_tokenizer.encode_batch_fast(texts[start : start + ROWS_AT_ONCE]):
            num_tokens += len(one.ids)
            num_bytes += sum(len(SPECIAL) <= number < len(SPECIAL) + len(BYTES) for number in one.ids)
            longest = max(longest, len(one.ids))
            num_longer += len(one.ids) > max_length
    return {
        "tokens_per_text": round(num_tokens / len(texts), 2),
        "longest_text": longest,
        "texts_over_max_length": num_longer,
        "share_of_bytes": round(num_bytes / num_tokens, 6),
    }


def _readme(about: Mapping[str, Any]) -> str:
    size = about["model"]
    files = [f"- {one['name']}: {one['rows']:,} rows, column {', '.join(one['columns'])}" for one in about["files"]]
    letters = "all letters small" if about["lowercase"] else "capital and small letters"
    return "\n".join(
        [
            "---",
            "library_name: transformers",
            "---",
            "",
            "# A translation model that has learnt nothing yet",
            "",
            f"Made by `headway vocabulary train` of headway {about['versions']['headway']}.",
            f"The weights are random, drawn from seed {about['seed']}: train the model before you use it.",
            "",
            f"- Vocabulary: {about['vocab_size']:,} byte pairs in SentencePiece's form, {letters}, bytes for all else.",
            f"- Model: Marian, {size['num_layers']} layers in encoder and decoder, {size['num_heads']} heads, width "
            f"{size['d_model']}, inside {size['ffn_dim']}; {about['parameters']:,} parameters.",
            f"- Texts: up to {size['max_length']} tokens.",
            "",
            f"The vocabulary was learnt from {about['texts']:,} texts, which have {about['tokens_per_text']} tokens on",
            f"average; {about['share_of_bytes']:.2%} of these are bytes. `{ABOUT}` has the SHA-256 of the texts.",
            "",
            *files,
            "",
        ]
    )
