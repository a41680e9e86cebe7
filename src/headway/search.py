"""Similarity search: the texts of a file become vectors in a folder, and for a text the nearest of them are found.

The search is exact: float32 products over a memory-mapped file, block by block, so memory stays bounded however large
the index is. An index belongs to the model that made it; the vectors of two models cannot be compared.
"""

from __future__ import annotations

import heapq
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from headway.data.options import DataOptions
from headway.data.table import Table
from headway.errors import DataError, ModelError, RecipeError, RunBusyError, RunError
from headway.files import flush, read_json, whole_writes, write_json
from headway.inference import Inference
from headway.metrics.ranking import normalized
from headway.models.backbone import load_backbone
from headway.models.folder_checks import check_folder
from headway.models.options import ModelOptions
from headway.models.safe_loading import sha256_of_weights
from headway.predictor import Predictor
from headway.recipe import reading_options
from headway.run_dir import model_folder
from headway.tasks.base import Limits
from headway.tasks.sentence_embeddings import SentenceEmbeddings
from headway.types import Column

FORMAT = 1
ROWS_PER_BLOCK = 65_536
"""Vectors of the index that are compared at once; with `QUERIES_PER_BLOCK` they bound the memory to some 70 MB."""
QUERIES_PER_BLOCK = 256
ROWS_PER_CHUNK = 4096

Engine = Literal["numpy", "faiss"]
Vectors = NDArray[np.float32]
Found = list[tuple[int, float]]
"""Rows of the index with their cosines, from the nearest down; of equal ones the earlier row first."""


@dataclass(frozen=True, slots=True)
class Embedder:
    """A model that turns texts into vectors of length 1, and what tells it from any other model."""

    inference: Inference
    identity: dict[str, Any]
    """``name``, ``sha256`` of the weights, and the ``settings`` that change a vector."""

    @classmethod
    def load(
        cls,
        model: str,
        *,
        pooling: Literal["cls", "mean", "max"] | None = None,
        max_length: int = 128,
        batch_size: int = 64,
        device: str | None = None,
    ) -> Embedder:
        """Return the embedder of a run, or of a pretrained model as it is.

        Args:
            model: a run directory of sentence-embeddings, or what ``model.model_name_or_path`` of a recipe may name.
            pooling: of a pretrained model; empty takes ``mean``. A run has its own.
            max_length: tokens of a text that a pretrained model sees. A run has its own.
            batch_size: texts of 32 tokens that the model sees at once; it never changes a result.
            device: where to compute; empty takes CUDA where there is one.

        Raises:
            RecipeError: the run is of another task.
            ModelError, RunError: the model cannot be loaded.
        """
        path = Path(model)
        if (path / "headway.json").is_file() or (path / "recipe.yaml").is_file():
            inference = Predictor.load(model, batch_size=batch_size, device=device).inference
            sha256 = sha256_of_weights(check_folder(model_folder(model)))
        else:
            backbone = load_backbone(ModelOptions(model_name_or_path=model, pooling=pooling))
            task = SentenceEmbeddings()
            limits = Limits(max_length=min(max_length, backbone.tokenizer.model_max_length))
            built = task.build_model(backbone).eval()
            built.to(torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))
            inference = Inference(task, built, backbone.tokenizer, limits, batch_size)
            sha256 = backbone.sha256
        if not isinstance(inference.task, SentenceEmbeddings):
            raise RecipeError(
                f"{model} is a run of {inference.task.name}, which gives no vectors. Search needs a run of "
                f"{SentenceEmbeddings.name}, or the name of a pretrained model such as minilm."
            )
        config: Any = inference.model.config
        settings = {
            "pooling": config.sentence_pooling,
            "query_prefix": inference.task.query_prefix,
            "passage_prefix": inference.task.passage_prefix,
            "max_length": inference.limits.max_length,
            "truncation": inference.limits.truncation,
        }
        name = str(path.resolve()) if path.is_dir() else model
        return cls(inference, {"name": name, "sha256": sha256, "settings": settings})

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        config: Any = self.inference.model.config
        return int(config.hidden_size)

    def embed(self, texts: Iterable[str], *, role: Literal["query", "positive"] = "query") -> Iterator[Vectors]:
        """Return the vectors of the texts in blocks, (texts, width), in their order.

        Args:
            texts: they need not fit into memory.
            role: whether the texts search (``query``) or are searched (``positive``), for models with prefixes.
        """
        predictions = self.inference.stream({role: text} for text in texts)
        while chunk := list(itertools.islice(predictions, ROWS_PER_CHUNK)):
            yield normalized(np.array([one.value for one in chunk], dtype=np.float32))


def build_index(
    embedder: Embedder, table: Table, output: str | Path, *, metadata: Mapping[str, Any] | None = None
) -> Index:
    """Write the index of the column ``text`` of a table, whole or not at all, and return it opened.

    Args:
        embedder: the model.
        table: the texts to be searched.
        output: the folder to make.
        metadata: what else ``index.json`` shall say (the source), plain JSON.

    Raises:
        RunBusyError: the folder exists.
        RunError: the disk refuses.
    """
    folder = Path(output)
    if folder.exists():
        raise RunBusyError(f"{folder} exists already. Remove it, or choose another --output.")
    writing = folder.with_name(f".{folder.name}.writing-{os.getpid()}")
    texts = table.column("text")
    with whole_writes(folder):
        try:
            writing.mkdir(parents=True)
            vectors: Any = np.lib.format.open_memmap(
                writing / "vectors.npy", mode="w+", dtype=np.float32, shape=(len(texts), embedder.width)
            )
            start = 0
            for block in embedder.embed(texts, role="positive"):
                vectors[start : start + len(block)] = block
                start += len(block)
            vectors.flush()
            del vectors
            places = [table.where(row) for row in range(len(table))]
            columns = pa.table(
                {"text": pa.array(texts, pa.large_string()), "where": pa.array(places, pa.large_string())}
            )
            with pa.ipc.new_file(str(writing / "texts.arrow"), columns.schema) as file:
                file.write_table(columns, max_chunksize=ROWS_PER_CHUNK)
            about = {"format": FORMAT, "rows": len(texts), "model": embedder.identity, **(metadata or {})}
            write_json(writing / "index.json", about)
            for path in writing.iterdir():
                flush(path)
            writing.rename(folder)
            flush(folder.parent)
        finally:
            shutil.rmtree(writing, ignore_errors=True)
    return Index.open(folder)


def read_texts(file: str, *, column: str | None = None, reading: Mapping[str, Any] | None = None) -> Table:
    """Return the texts of a file as a table with the column ``text``.

    Args:
        file: any file that a recipe's ``data.train`` may name.
        column: the column of the file that holds the texts; empty takes ``text``.
        reading: dotted options of a recipe's ``data`` section (``{"data.format": "tsv"}``).

    Raises:
        DataError: the file cannot be read as told.
    """
    options = DataOptions(train=file, columns=None if column is None else {"text": column})
    columns = (Column("text", "text", True, "The text."),)
    return Table.read(file, options=reading_options(options, reading or {}), columns=columns, need_gold=False)


class Index:
    """The folder that `build_index` made; nothing of it is in memory until it is needed."""

    def __init__(self, folder: Path, about: dict[str, Any], vectors: Vectors, texts: pa.Table) -> None:
        self.folder = folder
        self.about = about
        """What index.json says: the rows, the model, and where the texts came from."""
        self.vectors = vectors
        """(rows, width), each of length 1, mapped from the disk."""
        self._texts = texts

    @classmethod
    def open(cls, folder: str | Path) -> Index:
        """Return the index in a folder.

        Raises:
            RunError: there is none, or it is damaged.
        """
        folder = Path(folder)
        if not (folder / "index.json").is_file():
            raise RunError(f"{folder} is not a search index. Make one: headway search index RUN FILE --output {folder}")
        about = read_json(folder / "index.json")
        try:
            vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
            texts = pa.ipc.open_file(pa.memory_map(str(folder / "texts.arrow"))).read_all()
        except (OSError, ValueError, pa.ArrowException) as error:
            raise RunError(f"The index in {folder} is damaged: {error}. Make it again.") from error
        sizes = {about.get("rows"), len(vectors), texts.num_rows}
        if about.get("format") != FORMAT or len(sizes) != 1 or vectors.ndim != 2 or vectors.dtype != np.float32:
            raise RunError(f"The index in {folder} is damaged, or of another version of headway. Make it again.")
        return cls(folder, about, vectors, texts)

    def __len__(self) -> int:
        return len(self.vectors)

    def text(self, row: int) -> str:
        """Return the text of a row."""
        return str(self._texts.column("text")[row].as_py())

    def where(self, row: int) -> str:
        """Return the place that a row had in its file."""
        return str(self._texts.column("where")[row].as_py())

    def embedder(self, model: str | None = None, *, batch_size: int = 64, device: str | None = None) -> Embedder:
        """Return the model that the index was made with, ready for queries.

        Args:
            model: where it lies now, if it was moved; empty takes the place that it had.
            batch_size: texts of 32 tokens that the model sees at once.
            device: where to compute.

        Raises:
            ModelError: what lies there is another model than the one that made the index.
        """
        made_with = self.about["model"]
        settings = made_with["settings"]
        found = Embedder.load(
            model or made_with["name"],
            pooling=settings["pooling"],
            max_length=settings["max_length"],
            batch_size=batch_size,
            device=device,
        )
        theirs, ours = ((one["sha256"], one["settings"]) for one in (made_with, found.identity))
        if theirs != ours:
            what = "its weights differ" if theirs[0] != ours[0] else f"it reads texts as {ours[1]}, not as {theirs[1]}"
            raise ModelError(
                f"{self.folder} was made with another model than {found.identity['name']}: {what}. Vectors of two "
                "models cannot be compared. Make the index again with `headway search index`, or name the model that "
                "made it with --model."
            )
        return found

    def search(
        self, queries: Vectors, *, top: int = 10, engine: Engine = "numpy", without: Sequence[int] | None = None
    ) -> list[Found]:
        """Return the nearest rows of each query.

        Args:
            queries: (queries, width), each of length 1, of the index's own model.
            top: how many rows; fewer are returned where the index has fewer.
            engine: ``numpy``, or ``faiss`` (the extra headway[faiss]); both are exact.
            without: for each query a row that is not to be found (itself).

        Raises:
            RecipeError: faiss is asked for and not installed.
        """
        nearest = _nearest_by_faiss if engine == "faiss" else nearest_rows
        if without is None:
            return nearest(self.vectors, queries, top)
        found = nearest(self.vectors, queries, top + 1)
        return [[one for one in some if one[0] != row][:top] for some, row in zip(found, without, strict=True)]

    def like(self, row: int, *, top: int = 10, engine: Engine = "numpy") -> Found:
        """Return the rows nearest to a row of the index, itself left out.

        Raises:
            DataError: there is no such row.
        """
        if not 0 <= row < len(self):
            raise DataError(f"{self.folder} has no row {row}; its rows are 0 to {len(self) - 1}.")
        return self.search(np.array(self.vectors[row : row + 1]), top=top, engine=engine, without=[row])[0]

    def duplicates(self, *, threshold: float, limit: int = 1000) -> tuple[list[tuple[int, int, float]], int]:
        """Return the pairs of rows whose cosine is at least ``threshold``, the nearest first, and their number.

        Args:
            threshold: from -1 to 1.
            limit: pairs that are returned; all are counted.
        """
        pairs, count = list[tuple[float, int, int]](), 0
        for first in range(0, len(self), QUERIES_PER_BLOCK):
            left = np.asarray(self.vectors[first : first + QUERIES_PER_BLOCK])
            for second in range(first, len(self), ROWS_PER_BLOCK):
                cosines = left @ np.asarray(self.vectors[second : second + ROWS_PER_BLOCK]).T
                # A millionth of tolerance, so that equal texts reach a threshold of 1.
                rows, columns = np.nonzero(cosines >= threshold - 1e-6)
                after = columns + second > rows + first
                count += int(after.sum())
                found = zip(cosines[rows, columns][after], rows[after], columns[after], strict=True)
                # Negated, so that of equal cosines the earlier rows stay.
                new = [(min(float(one), 1.0), -int(i) - first, -int(j) - second) for one, i, j in found]
                pairs = heapq.nlargest(limit, itertools.chain(pairs, new))
        return [(-i, -j, cosine) for cosine, i, j in pairs], count


def nearest_rows(vectors: Vectors, queries: Vectors, top: int, *, rows_per_block: int = ROWS_PER_BLOCK) -> list[Found]:
    """Return the ``top`` rows of ``vectors`` with the largest product with each query, exactly.

    Args:
        vectors: (rows, width).
        queries: (queries, width).
        top: rows for each query.
        rows_per_block: rows whose products are in memory at once.
    """
    found: list[Found] = []
    for first in range(0, len(queries), QUERIES_PER_BLOCK):
        part = np.asarray(queries[first : first + QUERIES_PER_BLOCK], dtype=np.float32)
        scores, rows = np.empty((len(part), 0), dtype=np.float32), np.empty((len(part), 0), dtype=np.int64)
        for start in range(0, len(vectors), rows_per_block):
            block = np.asarray(vectors[start : start + rows_per_block])
            numbers = np.broadcast_to(np.arange(start, start + len(block)), (len(part), len(block)))
            scores, rows = _largest(np.hstack([scores, part @ block.T]), np.hstack([rows, numbers]), top)
        found += [list(zip(some.tolist(), of.tolist(), strict=True)) for some, of in zip(rows, scores, strict=True)]
    return found


def _largest(scores: Vectors, rows: NDArray[np.int64], top: int) -> tuple[Vectors, NDArray[np.int64]]:
    """Return the ``top`` largest scores of each line with their rows, the largest first, then the earlier row."""
    width = scores.shape[1]
    kept = min(top, width)
    # Scores as large as the last one that is kept all stay in the race, so that a tie never falls by chance.
    limits = np.partition(scores, width - kept, axis=1)[:, width - kept]
    best_scores, best_rows = np.empty((len(scores), kept), np.float32), np.empty((len(scores), kept), np.int64)
    for line, limit in enumerate(limits):
        racing = np.flatnonzero(scores[line] >= limit)
        order = racing[np.lexsort((rows[line, racing], -scores[line, racing]))[:kept]]
        best_scores[line], best_rows[line] = scores[line, order], rows[line, order]
    return best_scores, best_rows


def _nearest_by_faiss(vectors: Vectors, queries: Vectors, top: int) -> list[Found]:
    try:
        import faiss
    except ImportError:
        raise RecipeError(
            "--engine faiss needs faiss: pip install 'headway[faiss]'. Without it, --engine numpy finds the same rows."
        ) from None
    index = faiss.IndexFlatIP(vectors.shape[1])
    for start in range(0, len(vectors), ROWS_PER_BLOCK):
        index.add(np.ascontiguousarray(vectors[start : start + ROWS_PER_BLOCK]))
    scores, rows = index.search(np.ascontiguousarray(queries, dtype=np.float32), min(top, len(vectors)))
    return [
        sorted(zip(some.tolist(), of.tolist(), strict=True), key=lambda one: (-one[1], one[0]))
        for some, of in zip(rows, scores, strict=True)
    ]
