"""The sample tables that ship with headway: well formed, free of duplicates and contradictions, and varied."""

import csv
import io
import json
import re
from collections import Counter
from importlib.resources import files
from itertools import pairwise

import pytest

from headway.segmentation import sentences_of

SAMPLES = files("headway") / "samples"
COLUMNS = {
    "reviews.csv": ["text", "label"],
    "questions.csv": ["question1", "question2", "same"],
    "similarity.tsv": ["sentence1", "sentence2", "score"],
    "relations.csv": ["text", "label"],
    "replies.csv": ["context", "reply"],
    "catalogue.csv": ["text", "shelf"],
}
EXPECTED_ROWS = {
    "reviews.csv": 671,
    "questions.csv": 514,
    "similarity.tsv": 206,
    "relations.csv": 182,
    "replies.csv": 153,
    "catalogue.csv": 96,
}
PAIR_FILES = ["questions.csv", "similarity.tsv"]


def rows_of(name: str) -> list[list[str]]:
    """Read a table, header first."""
    text = (SAMPLES / name).read_bytes().decode("utf-8")
    if name.endswith(".tsv"):
        return list(csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE))
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def same_text(text: str) -> str:
    """Fold what does not make two texts different: case, spaces and the punctuation around words."""
    return " ".join(word.strip(".,;:!?\"'") for word in text.casefold().split())


@pytest.mark.parametrize("name", COLUMNS)
def test_header_and_row_count(name: str) -> None:
    header, *rows = rows_of(name)
    assert header == COLUMNS[name]
    assert len(rows) == EXPECTED_ROWS[name]
    assert {len(row) for row in rows} == {len(header)}


@pytest.mark.parametrize("name", COLUMNS)
def test_no_field_is_empty_or_padded(name: str) -> None:
    fields = [field for row in rows_of(name) for field in row]
    assert [field for field in fields if not field or field != field.strip()] == []


@pytest.mark.parametrize("name", COLUMNS)
def test_bytes_are_plain_utf8_with_lf(name: str) -> None:
    content = (SAMPLES / name).read_bytes()
    assert b"\r" not in content
    assert b"\0" not in content
    assert not content.startswith(b"\xef\xbb\xbf")
    assert content.endswith(b"\n")
    assert not content.endswith(b"\n\n")


@pytest.mark.parametrize("name", ["reviews.csv", "questions.csv", "replies.csv", "catalogue.csv", "relations.csv"])
def test_every_csv_field_is_quoted(name: str) -> None:
    written = io.StringIO(newline="")
    csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows_of(name))
    assert written.getvalue().encode("utf-8") == (SAMPLES / name).read_bytes()


def test_tsv_needs_no_quotes() -> None:
    assert b'"' not in (SAMPLES / "similarity.tsv").read_bytes()


def test_labels_of_reviews() -> None:
    _, *rows = rows_of("reviews.csv")
    assert Counter(label for _, label in rows) == {"positive": 271, "negative": 252, "mixed": 148}


def test_answers_of_questions() -> None:
    _, *rows = rows_of("questions.csv")
    assert Counter(same for _, _, same in rows) == {"yes": 257, "no": 257}


def test_scores_of_similarity() -> None:
    _, *rows = rows_of("similarity.tsv")
    scores = [float(score) for _, _, score in rows]
    assert (min(scores), max(scores)) == (0.0, 5.0)
    assert all(score == f"{float(score):.1f}" for _, _, score in rows)
    # Each unit of the scale is there in numbers worth learning from.
    assert min(Counter(min(int(score), 4) for score in scores).values()) >= 25


def test_shelves_of_the_catalogue_are_even() -> None:
    _, *rows = rows_of("catalogue.csv")
    assert set(Counter(shelf for _, shelf in rows).values()) == {8}
    assert max(Counter(same_text(text) for text, _ in rows).values()) == 1


def test_no_remark_and_no_reply_twice() -> None:
    _, *rows = rows_of("replies.csv")
    counts = Counter(same_text(text) for row in rows for text in row)
    assert [text for text, count in counts.items() if count > 1] == []


def test_no_review_twice_whatever_its_label() -> None:
    _, *rows = rows_of("reviews.csv")
    counts = Counter(same_text(text) for text, _ in rows)
    assert [text for text, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("name", PAIR_FILES)
def test_no_pair_twice_in_either_order(name: str) -> None:
    _, *rows = rows_of(name)
    counts = Counter(frozenset((same_text(left), same_text(right))) for left, right, _ in rows)
    assert [sorted(pair) for pair, count in counts.items() if count > 1] == []
    assert all(len(pair) == 2 for pair in counts)


def test_every_question_asks() -> None:
    _, *rows = rows_of("questions.csv")
    assert [q for left, right, _ in rows for q in (left, right) if "?" not in q] == []


def test_reviews_are_varied() -> None:
    _, *rows = rows_of("reviews.csv")
    texts = [text for text, _ in rows]
    first_words = Counter(text.split()[0] for text in texts)
    lengths = [len(text.split()) for text in texts]
    assert len(first_words) >= 200
    assert max(first_words.values()) <= 0.15 * len(texts)
    assert min(lengths) >= 5
    assert max(lengths) <= 45
    assert len(set(lengths)) >= 30
    assert len({word for text in texts for word in same_text(text).split()}) >= 2000


def test_reviews_exercise_the_csv_format() -> None:
    texts = [text for text, _ in rows_of("reviews.csv")[1:]]
    assert sum("\n" in text for text in texts) == 3
    assert sum("," in text for text in texts) >= 150
    assert sum('"' in text for text in texts) >= 8
    assert sum("'" in text for text in texts) >= 100
    assert sum(not text.isascii() for text in texts) >= 8


@pytest.mark.parametrize("name", PAIR_FILES)
def test_pairs_open_in_many_ways(name: str) -> None:
    _, *rows = rows_of(name)
    assert len({sentence.split()[0] for left, right, _ in rows for sentence in (left, right)}) >= 40


@pytest.mark.parametrize("name", COLUMNS)
def test_gold_values_are_mixed_through_the_file(name: str) -> None:
    """A reader of the first fifth, or a split without a shuffle, sees the whole range."""
    _, *rows = rows_of(name)
    gold = [row[-1][0] for row in rows]
    head = set(gold[: len(gold) // 5])
    assert head >= {value for value, count in Counter(gold).items() if count >= 20}


def test_shared_words_do_not_give_the_answer_away() -> None:
    """Both answers occur among the pairs that share many words and among those that share few."""
    shared: dict[str, list[float]] = {"yes": [], "no": []}
    for left, right, same in rows_of("questions.csv")[1:]:
        one, two = set(same_text(left).split()), set(same_text(right).split())
        shared[same].append(len(one & two) / len(one | two))
    for values in shared.values():
        assert sum(value > 0.4 for value in values) >= 0.15 * len(values)
        assert sum(value < 0.1 for value in values) >= 0.15 * len(values)


@pytest.mark.parametrize("name", COLUMNS)
def test_readme_tells_the_counts(name: str) -> None:
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    line = next(line for line in readme.splitlines() if line.startswith(f"| `{name}`"))
    assert line.endswith(f"| {EXPECTED_ROWS[name]} |")
    assert ", ".join(f"`{column}`" for column in COLUMNS[name]) in line


def test_paragraphs_of_the_core_text() -> None:
    text = (SAMPLES / "core.txt").read_bytes().decode("utf-8")
    paragraphs = text.removesuffix("\n").split("\n\n")
    assert text.endswith(".\n")
    assert (len(paragraphs), len(set(paragraphs))) == (68, 68)
    assert all("\n" not in paragraph and paragraph == paragraph.strip() for paragraph in paragraphs)
    sentences = [sentence for paragraph in paragraphs for sentence in sentences_of(paragraph)]
    assert (len(sentences), len({same_text(sentence) for sentence in sentences})) == (340, 340)
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    assert "| `core.txt` | core training, plain text | paragraphs with blank lines between | 68 |" in readme


def test_answers_stand_once_in_their_texts() -> None:
    content = json.loads((SAMPLES / "answers.json").read_bytes().decode("utf-8"))
    paragraphs = [paragraph for article in content["data"] for paragraph in article["paragraphs"]]
    questions = [question for paragraph in paragraphs for question in paragraph["qas"]]
    assert (len(paragraphs), len(questions), len({one["question"] for one in questions})) == (18, 90, 90)
    assert all(one["question"].endswith("?") for one in questions)
    for paragraph in paragraphs:
        for question in paragraph["qas"]:
            (answer,) = question["answers"]
            assert paragraph["context"].startswith(answer["text"], answer["answer_start"])
            assert len(re.findall(rf"\b{re.escape(answer['text'])}\b", paragraph["context"])) == 1
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    assert "| `answers.json` | question answering, SQuAD's layout | `question`, `context`, `answers` | 90 |" in readme


def test_licence_names_cc0() -> None:
    licence = (SAMPLES / "LICENSE-CC0").read_text(encoding="utf-8")
    assert "CC0 1.0 Universal" in licence
    assert "https://creativecommons.org/publicdomain/zero/1.0/" in licence


def test_entities_are_varied_and_none_stands_twice() -> None:
    blocks = (SAMPLES / "entities.conll").read_bytes().decode("utf-8").split("\n\n")
    lines = [[line.split(" ") for line in block.strip().split("\n")] for block in blocks]
    assert len(lines) == 174
    assert len({" ".join(word for word, _ in block) for block in lines}) == 174
    tags = Counter(tag for block in lines for _, tag in block)
    assert set(tags) == {"O", *(f"{prefix}-{kind}" for prefix in "BI" for kind in ("person", "place", "organisation"))}
    assert min(tags[f"B-{kind}"] for kind in ("person", "place", "organisation")) >= 80
    # No I- without its beginning.
    for block in lines:
        for (_, before), (_, tag) in pairwise([["", "O"], *block]):
            assert not tag.startswith("I-") or before[1:] == tag[1:]
    assert len({word for block in lines for word, tag in block if tag != "O"}) >= 180
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    assert "| `entities.conll` | token classification, three kinds of names | `tokens`, `tags` | 174 |" in readme


# --- texts to be written ----------------------------------------------------------------------------------------------

WRITTEN = {
    "notices.jsonl": ("summarization", "notice", "summary", 300),
    "plain-english.jsonl": ("translation, legal to plain English", "legal", "plain", 400),
    "talks.jsonl": ("dialogue", "history", "response", 360),
}
"""File -> the task, its two columns and its rows."""


def records(name: str) -> list[tuple[str, str]]:
    """Return what is read and what is written, of each row; turns as lines."""
    _, source, target, _ = WRITTEN[name]
    content = (SAMPLES / name).read_bytes().decode("utf-8")
    assert content.endswith("\n")
    assert "\r" not in content
    rows = [json.loads(line) for line in content.removesuffix("\n").split("\n")]
    assert all(list(row) == [source, target] for row in rows)
    return [("\n".join(row[source]) if name == "talks.jsonl" else row[source], row[target]) for row in rows]


@pytest.mark.parametrize("name", WRITTEN)
def test_texts_to_be_written_are_small_told_and_none_is_read_twice(name: str) -> None:
    task, source, target, number = WRITTEN[name]
    rows = records(name)
    assert len({source for source, _ in rows}) == len(rows) == number
    assert all(text == text.strip() and text for row in rows for text in row)
    assert (SAMPLES / name).stat().st_size <= 100_000
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    assert f"| `{name}` | {task} | `{source}`, `{target}` | {number} |" in readme


def test_notices_are_varied_and_say_their_news_in_any_place() -> None:
    rows = records("notices.jsonl")
    assert len({summary for _, summary in rows}) == 300
    assert max(Counter(summary.split()[0] for _, summary in rows).values()) <= 60
    assert sum(len(summary) / len(notice) for notice, summary in rows) / 300 < 0.3
    places = []
    for notice, summary in rows:
        told = set(same_text(summary).split())
        shares = [len(told & set(same_text(one).split())) for one in sentences_of(notice)]
        places.append(shares.index(max(shares)))
    # Who takes the first sentence alone finds the news in a third of them at most.
    assert 0.05 < sum(place == 0 for place in places) / 300 < 0.34
    assert max(places) >= 4


def test_plain_english_is_another_text_than_the_legal_one() -> None:
    rows = records("plain-english.jsonl")
    assert len({plain for _, plain in rows}) >= 380
    assert all(text == text.lower() and text.endswith(".") for row in rows for text in row)
    shared = [
        len(set(same_text(a).split()) & set(same_text(b).split())) / len(set(same_text(b).split())) for a, b in rows
    ]
    assert sum(shared) / len(shared) < 0.5
    # A word of either side alone shows that both vocabularies are there.
    words = [{word for row in rows for word in same_text(row[side]).split()} for side in (0, 1)]
    assert min(len(words[0] - words[1]), len(words[1] - words[0])) >= 50


def test_talks_never_contradict_themselves() -> None:
    rows = records("talks.jsonl")
    assert all(text == text.lower() for row in rows for text in row)
    lengths = Counter(history.count("\n") + 1 for history, _ in rows)
    assert set(lengths) <= {1, 3, 5, 7, 9, 11}
    assert sum(count for turns, count in lengths.items() if turns > 1) >= 180
    assert len({response for _, response in rows}) >= 50
    # The last three turns, which the model reads, have one answer.
    read: dict[str, set[str]] = {}
    for history, response in rows:
        read.setdefault("\n".join(history.split("\n")[-3:]), set()).add(response)
    assert max(map(len, read.values())) == 1
