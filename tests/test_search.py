from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.data.table import Table
from headway.errors import DataError, ModelError, RecipeError, RunBusyError, RunError
from headway.predictor import Predictor
from headway.recipe import Recipe
from headway.search import Embedder, Index, build_index, nearest_rows, read_texts
from headway.train import train

TEXTS = ["a great film", "a great film", "the food was awful", "rain and sun in the street", "", "a great film !"]


def brute_force(vectors: np.ndarray, queries: np.ndarray, top: int) -> list[list[tuple[int, float]]]:
    found = []
    for query in queries:
        scores = [float(np.dot(vector, query)) for vector in vectors]
        order = sorted(range(len(vectors)), key=lambda row: (-scores[row], row))[:top]
        found.append([(row, scores[row]) for row in order])
    return found


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), num_rows=st.integers(1, 30), num_queries=st.integers(0, 5),
    top=st.integers(1, 12), block=st.integers(1, 31),
)  # fmt: skip
def test_the_search_is_exact_whatever_the_block(
    seed: int, num_rows: int, num_queries: int, top: int, block: int
) -> None:
    rng = np.random.default_rng(seed)
    # Small whole numbers: every product is exact, and ties are many.
    vectors = rng.integers(-2, 3, size=(num_rows, 3)).astype(np.float32)
    queries = rng.integers(-2, 3, size=(num_queries, 3)).astype(np.float32)
    assert nearest_rows(vectors, queries, top, rows_per_block=block) == brute_force(vectors, queries, top)


def test_many_queries_in_blocks() -> None:
    rng = np.random.default_rng(0)
    vectors, queries = rng.normal(size=(700, 8)).astype(np.float32), rng.normal(size=(600, 8)).astype(np.float32)
    found = nearest_rows(vectors, queries, 5, rows_per_block=256)
    for ours, plain in zip(found, brute_force(vectors, queries, 5), strict=True):
        assert [row for row, _ in ours] == [row for row, _ in plain]
        assert [one for _, one in ours] == pytest.approx([one for _, one in plain], abs=1e-5)


def test_faiss_finds_the_same(index: Index) -> None:
    pytest.importorskip("faiss", reason="the extra headway[faiss] is not installed")
    queries = np.array(index.vectors[[2, 3, 4]])
    for ours, theirs in zip(index.search(queries, top=3), index.search(queries, top=3, engine="faiss"), strict=True):
        assert [row for row, _ in ours] == [row for row, _ in theirs]
        assert [one for _, one in ours] == pytest.approx([one for _, one in theirs], abs=1e-5)


def test_without_faiss_the_extra_is_named(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(RecipeError, match="pip install 'headway\\[faiss\\]'"):
        index.search(np.array(index.vectors[:1]), engine="faiss")


@pytest.fixture(scope="module")
def index(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Index:
    table = Table.from_rows([{"text": text} for text in TEXTS], name="texts.csv")
    return build_index(Embedder.load(str(tiny_bert)), table, tmp_path_factory.mktemp("search") / "index")


def test_an_index_keeps_texts_places_and_vectors(index: Index, tiny_bert: Path) -> None:
    assert len(index) == 6
    assert [index.text(row) for row in range(6)] == TEXTS
    assert index.where(2) == "texts.csv, row 3"
    assert isinstance(index.vectors, np.memmap)
    np.testing.assert_allclose(np.linalg.norm(index.vectors, axis=1), 1, atol=1e-5)
    (vectors,) = index.embedder().embed(TEXTS)
    np.testing.assert_allclose(vectors, index.vectors, atol=1e-5)
    assert sorted(path.name for path in index.folder.iterdir()) == ["index.json", "texts.arrow", "vectors.npy"]
    assert index.about["model"]["name"] == str(tiny_bert.resolve())


def test_a_text_finds_its_equals_in_their_order(index: Index) -> None:
    (vectors,) = index.embedder().embed(["a great film"])
    ((first, cosine), (second, _), *rest) = index.search(vectors, top=4)[0]
    assert (first, second) == (0, 1)
    assert cosine == pytest.approx(1, abs=1e-5)
    assert len(rest) == 2


def test_like_leaves_the_row_itself_out(index: Index) -> None:
    assert index.like(0, top=2)[0][0] == 1
    assert 0 not in [row for row, _ in index.like(0, top=10)]
    assert len(index.like(0, top=10)) == 5
    with pytest.raises(DataError, match="has no row 6; its rows are 0 to 5"):
        index.like(6)


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_duplicates_are_all_pairs_above_the_threshold(index: Index, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.search.ROWS_PER_BLOCK", rows)
    monkeypatch.setattr("headway.search.QUERIES_PER_BLOCK", min(rows, 4))
    cosines = np.asarray(index.vectors) @ np.asarray(index.vectors).T
    expected = {(i, j) for i in range(6) for j in range(i + 1, 6) if cosines[i, j] >= 0.9}
    pairs, count = index.duplicates(threshold=0.9)
    assert {(i, j) for i, j, _ in pairs} == expected
    assert count == len(expected) >= 1
    assert pairs[0][:2] == (0, 1)
    assert [one for *_, one in pairs] == sorted((one for *_, one in pairs), reverse=True)
    shorter, count = index.duplicates(threshold=-1, limit=2)
    assert (len(shorter), count) == (2, 15)


def test_equal_texts_reach_a_threshold_of_one(index: Index) -> None:
    pairs, _ = index.duplicates(threshold=1.0)
    assert (0, 1) in {pair[:2] for pair in pairs}


def test_an_index_of_another_model_is_refused(index: Index, tiny_bert: Path, tmp_path: Path) -> None:
    import torch
    from transformers import BertModel

    other = Path(shutil.copytree(tiny_bert, tmp_path / "other"))
    torch.manual_seed(1)
    BertModel(BertModel.from_pretrained(tiny_bert).config).save_pretrained(other)
    with pytest.raises(ModelError, match=r"was made with another model than .*: its weights differ"):
        index.embedder(str(other))
    moved = Path(shutil.copytree(tiny_bert, tmp_path / "moved"))
    assert index.embedder(str(moved)).width == 32


def test_what_is_no_index(tmp_path: Path, index: Index) -> None:
    with pytest.raises(RunError, match=r"is not a search index\. Make one: headway search index"):
        Index.open(tmp_path)
    damaged = Path(shutil.copytree(index.folder, tmp_path / "damaged"))
    (damaged / "vectors.npy").write_bytes(b"nothing")
    with pytest.raises(RunError, match="is damaged"):
        Index.open(damaged)
    other = Path(shutil.copytree(index.folder, tmp_path / "other"))
    np.save(other / "vectors.npy", np.zeros((2, 32), dtype=np.float32))
    with pytest.raises(RunError, match="is damaged, or of another version"):
        Index.open(other)


def test_an_index_is_never_written_over(index: Index, tiny_bert: Path) -> None:
    with pytest.raises(RunBusyError, match="exists already"):
        build_index(Embedder.load(str(tiny_bert)), Table.from_rows([{"text": "a"}]), index.folder)


def test_a_failure_leaves_nothing_behind(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Embedder.load(str(tiny_bert))

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("headway.search.write_json", broken)
    with pytest.raises(ZeroDivisionError):
        build_index(embedder, Table.from_rows([{"text": "a"}]), tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


def test_texts_are_read_like_any_data(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("name;blurb\na;one\nb;two\n")
    table = read_texts(str(tmp_path / "items.csv"), column="blurb", reading={"data.delimiter": ";"})
    assert table.column("text") == ["one", "two"]
    with pytest.raises(DataError, match="there is no column 'text'"):
        read_texts(str(tmp_path / "items.csv"), reading={"data.delimiter": ";"})


# --- a tuned model ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(reviews_csv: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "embeddings"
    recipe = {
        "task": {"type": "sentence-embeddings", "query_prefix": "who ", "passage_prefix": "the "},
        "data": {"train": str(reviews_csv), "columns": {"text": "text", "group": "label"}, "max_length": 16},
        "model": {"model_name_or_path": str(tiny_bert), "pooling": "cls"},
        "training": {"max_steps": 2, "per_device_train_batch_size": 8, "bf16": False, "baselines": False},
    }
    train(Recipe.from_dict(recipe), output_dir=folder)
    return folder


def test_a_run_brings_its_own_settings(run: Path, tmp_path: Path) -> None:
    embedder = Embedder.load(str(run))
    assert embedder.identity["settings"] == {
        "pooling": "cls", "query_prefix": "who ", "passage_prefix": "the ", "max_length": 16, "truncation": "head",
    }  # fmt: skip
    assert embedder.identity["sha256"] == Embedder.load(str(run / "model")).identity["sha256"]
    made = build_index(embedder, Table.from_rows([{"text": text} for text in TEXTS]), tmp_path / "index")
    predictor = Predictor.load(run)
    answer = next(predictor.inference.stream([{"positive": TEXTS[2]}])).value
    np.testing.assert_allclose(made.vectors[2], answer, atol=1e-5)
    (asked,) = made.embedder().embed(["a dog"])
    np.testing.assert_allclose(asked[0], predictor.predict({"query": "a dog"}).value, atol=1e-5)


def test_an_index_made_with_other_settings_is_refused(run: Path, tmp_path: Path) -> None:
    made = build_index(Embedder.load(str(run)), Table.from_rows([{"text": "a"}]), tmp_path / "index")
    about = json.loads((made.folder / "index.json").read_text())
    about["model"]["settings"]["query_prefix"] = ""
    (made.folder / "index.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match="it reads texts as"):
        Index.open(made.folder).embedder()


def test_a_run_of_another_task_gives_no_vectors(finished_run: Path) -> None:
    with pytest.raises(RecipeError, match="is a run of text-classification, which gives no vectors"):
        Embedder.load(str(finished_run))


@pytest.mark.slow
def test_real_questions_find_training_questions_of_their_intent(shared_data: Path, tmp_path: Path) -> None:
    """BANKING77: recall at 1 and 5 of the intent among the training questions, by a model that never saw an intent."""
    folder = shared_data / "banking77"
    known = read_texts(str(folder / "train.csv"))
    intents = read_texts(str(folder / "train.csv"), column="category").column("text")
    gold = read_texts(str(folder / "test.csv"), column="category").column("text")[::6]
    asked = read_texts(str(folder / "test.csv")).column("text")[::6]
    made = build_index(Embedder.load("minilm"), known, tmp_path / "index")
    (vectors,) = made.embedder().embed(asked)
    found = [[intents[row] for row, _ in some] for some in made.search(vectors, top=5)]
    recall = {k: float(np.mean([one in some[:k] for one, some in zip(gold, found, strict=True)])) for k in (1, 5)}
    assert recall[1] > 0.85, recall
    assert recall[5] > 0.95, recall
