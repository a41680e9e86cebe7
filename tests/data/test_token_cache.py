from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headway.data import token_cache
from headway.data.token_cache import open_or_build, record_batches
from headway.types import Features


def features(num_rows: int = 10, *, multiple: int = 1) -> Iterator[Features]:
    for number in range(num_rows):
        yield Features(
            {"input_ids": list(range(number + 1)), "attention_mask": [1] * (number + 1)},
            {"labels": number * multiple},
            {"tokens_lost": number % 3, "offsets": [[0, 1]] * number},
            row=number // 2,
        )


def never() -> Iterator[Features]:
    raise AssertionError("the cache was built again")
    yield


def test_what_went_in_comes_out(tmp_path: Path) -> None:
    cache = open_or_build("reviews.csv-10rows", "k", record_batches(features()), folder=tmp_path)
    assert list(cache) == list(features())
    assert cache[2:4] == list(features())[2:4]
    assert cache[np.int64(3)] == list(features())[3]
    assert cache.lengths.tolist() == list(range(1, 11))
    assert cache.tokens_lost.tolist() == [0, 1, 2] * 3 + [0]
    assert cache.rows.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    with pytest.raises(IndexError):
        cache[10]


@pytest.mark.parametrize("targets", [1.5, [0.0, 1.0], "name", [[1, 2], [3]], {"start": 1, "end": 2}])
def test_targets_of_any_plain_kind(targets: Any, tmp_path: Path) -> None:
    given = [Features({"input_ids": [1]}, {"gold": targets}, {"tokens_lost": 0}, row=0)]
    assert list(open_or_build("x", "k", record_batches(given), folder=tmp_path)) == given


def test_the_lengths_of_targets_that_are_lists(tmp_path: Path) -> None:
    given = [Features({"input_ids": [1]}, {"labels": [1] * n}, {"tokens_lost": 0}, row=n) for n in (3, 1, 2)]
    assert open_or_build("x", "a", record_batches(given), folder=tmp_path).target_lengths.tolist() == [3, 1, 2]
    given.append(Features({"input_ids": [1]}, {}, {"tokens_lost": 0}, row=3))
    assert open_or_build("x", "b", record_batches(given), folder=tmp_path).target_lengths.tolist() == [3, 1, 2, 0]
    assert open_or_build("x", "c", record_batches(features()), folder=tmp_path).target_lengths is None


def test_many_chunks_and_what_only_later_rows_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_cache, "ROWS_PER_CHUNK", 4)
    assert list(open_or_build("x", "k", record_batches(features()), folder=tmp_path)) == list(features())
    monkeypatch.undo()
    plain = Features({"input_ids": [1]}, {}, {"tokens_lost": 0}, row=0)
    labelled = Features({"input_ids": [2]}, {"labels": 1}, {"tokens_lost": 0, "words": [3]}, row=1)
    assert list(open_or_build("y", "k", record_batches([plain, labelled]), folder=tmp_path)) == [plain, labelled]


def test_what_is_read_stays_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_cache, "ROWS_PER_CHUNK", 100)
    long = [Features({"input_ids": [7] * 500}, {"labels": [1, 2]}, {"tokens_lost": 0}, row=n) for n in range(1000)]
    open_or_build("x", "k", record_batches(long), folder=tmp_path)
    before = pa.total_allocated_bytes()
    cache = open_or_build("x", "k", record_batches(never()), folder=tmp_path)
    assert cache[999] == long[999]
    assert list(cache.used_ids()) == [7]
    assert pa.total_allocated_bytes() - before < 200_000, "the tokens alone are 2,000,000 bytes"


def test_no_rows(tmp_path: Path) -> None:
    assert len(open_or_build("x", "k", record_batches([]), folder=tmp_path)) == 0
    assert list(open_or_build("x", "k", record_batches(never()), folder=tmp_path)) == []


def test_a_second_opening_builds_nothing_and_the_name_is_readable(tmp_path: Path) -> None:
    open_or_build("my reviews/ä.csv-10rows", "k", record_batches(features()), folder=tmp_path)
    again = open_or_build("my reviews/ä.csv-10rows", "k", record_batches(never()), folder=tmp_path)
    assert list(again) == list(features())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "my-reviews-.csv-10rows-k.arrow",
        "my-reviews-.csv-10rows-k.sha256",
    ]


@pytest.mark.parametrize("harm", ["flipped", "cut", "empty", "digest-cut", "digest-junk", "no-digest", "no-file"])
def test_damage_is_built_again_with_a_warning(harm: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_or_build("x", "k", record_batches(features()), folder=tmp_path)
    path, digest = tmp_path / "x-k.arrow", tmp_path / "x-k.sha256"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    {
        "flipped": lambda: path.write_bytes(content),
        "cut": lambda: path.write_bytes(content[:100]),
        "empty": lambda: path.write_bytes(b""),
        "digest-cut": lambda: digest.write_bytes(digest.read_bytes()[:10]),
        "digest-junk": lambda: digest.write_bytes(b"\xff\xfe\x00"),
        "no-digest": digest.unlink,
        "no-file": path.unlink,
    }[harm]()
    with caplog.at_level(logging.WARNING):
        assert list(open_or_build("x", "k", record_batches(features()), folder=tmp_path)) == list(features())
    # A file that is not there is no damage: a killed process leaves that.
    assert ("is damaged; it is built again" in caplog.text) == (harm not in ("no-digest", "no-file"))
    caplog.clear()
    assert len(open_or_build("x", "k", record_batches(never()), folder=tmp_path)) == 10
    assert not caplog.records


def test_an_error_while_building_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[Features]:
        yield from features(3)
        raise ValueError("a bad row")

    with pytest.raises(ValueError, match="a bad row"):
        open_or_build("x", "k", record_batches(failing()), folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def write_many(folder: str, barrier: Any, queue: Any) -> None:
    barrier.wait()
    for number in range(20):
        cache = open_or_build("x", f"k{number}", record_batches(features(200, multiple=number)), folder=Path(folder))
        if list(cache) != list(features(200, multiple=number)):
            queue.put(f"cache {number} is wrong")
    queue.put("done")


def test_two_writers_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["headway.data.token_cache"])
    barrier, queue = context.Barrier(2), context.Queue()
    processes = [context.Process(target=write_many, args=(str(tmp_path), barrier, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    said = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert said == ["done", "done"]
    assert [process.exitcode for process in processes] == [0, 0]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".arrow"] * 20 + [".sha256"] * 20


def test_windows_and_other_pieces_are_counted_from_the_file(tmp_path: Path) -> None:
    given = [
        Features({"input_ids": [1, 2, 3]}, {}, {"tokens_lost": 0, "num_windows": 1, "tokens_repeated": 0}, pieces=(3,)),
        Features({"input_ids": [1] * 9}, {}, {"tokens_lost": 4, "num_windows": 2, "tokens_repeated": 3}, pieces=(5, 4)),
        Features({"input_ids": [1] * 2}, {}, {"tokens_lost": 0}),
        Features({"input_ids": [1] * 6}, {}, {"tokens_lost": 0}, pieces=(1, 3, 2)),
    ]
    for kept, expected in ((given, ([1, 2, 1, 3], [3, 5, 2, 3])), (given[2:3], ([1], [2])), ([], ([], []))):
        cache = open_or_build("pieces", f"key-{len(kept)}", record_batches(kept), folder=tmp_path)
        assert list(cache) == kept
        assert (cache.num_pieces.tolist(), cache.longest_piece.tolist()) == expected
    cache = open_or_build("pieces", "key-4", record_batches(given), folder=tmp_path)
    assert cache.num_windows.tolist() == [1, 2, 0, 0]
    assert cache.tokens_repeated.tolist() == [0, 3, 0, 0]


def test_long_rows_are_written_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_cache, "TOKENS_PER_CHUNK", 10)
    sizes = []
    write = token_cache._record_batch
    monkeypatch.setattr(token_cache, "_record_batch", lambda chunk: sizes.append(len(chunk)) or write(chunk))
    given = [Features({"input_ids": [1] * length}, {}, {"tokens_lost": 0}) for length in (6, 6, 20, 1, 1)]
    assert list(open_or_build("long", "key", record_batches(given), folder=tmp_path)) == given
    assert sizes == [2, 1, 2]
