"""Questions about paragraphs in the JSON of SQuAD 1.1 and 2.0: articles, their paragraphs, and the questions on each.

Of the flat layout of the hub, ``{"version": ..., "data": [{"id", "question", "context", "answers"}]}``, each item is a
row as it stands.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from headway.data.formats.archive import check_kind, single_file
from headway.data.formats.content import Complaints, Content, ContentBuilder, Wanted
from headway.data.formats.decoding import opened_text
from headway.data.options import Source
from headway.errors import DataError

NAMES = ("id", "title", "question", "context", "answers")
Rows = Iterator[tuple[str, dict[str, Any]]]
"""The place of each question, and its row."""


def read(source: Source, *, wanted: Wanted, complaints: Complaints) -> Content:
    """Return the columns ``id``, ``title``, ``question``, ``context`` and ``answers``, a row for each question.

    Answers come as ``{"text": [...], "answer_start": [...]}``, empty lists where ``is_impossible`` is true. Where no
    question of the file has answers, there is no such column.

    Raises:
        DataError: the file is not JSON, or holds no list ``data`` of articles or questions.
    """
    file = single_file(source.path)
    if source.column_names:
        raise DataError(
            f"{file.name}: this format names its columns itself ({', '.join(NAMES)}). Leave data.column_names out."
        )
    check_kind(file)
    with opened_text(file, source.encoding) as stream:
        text = stream.read()
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file.name}: not valid JSON: {error}.") from None
    items = content.get("data") if isinstance(content, dict) else None
    if not isinstance(items, list):
        raise DataError(f'{file.name}: expected {{"data": [...]}}, a list of articles or of questions.')
    rows = []
    for number, item in enumerate(items, 1):
        if isinstance(item, dict) and "paragraphs" in item:
            rows += list(_of_article(item, f"article {number}", complaints))
        elif isinstance(item, dict) and "context" in item:
            rows += list(_question(item, f"question {number}", item, complaints))
        else:
            complaints.error(
                f"item {number}", f"neither an article with 'paragraphs' nor a question with 'context': {item!r:.80}."
            )
    present = {name for _, row in rows for name in row} or set(NAMES)
    chosen = wanted.choose([name for name in NAMES if name in present], source=file.name)
    builder = ContentBuilder(chosen, unit="")
    for place, row in rows:
        builder.append([row.get(name) for name in chosen], place)
    return builder.build()


def _of_article(article: dict[str, Any], place: str, complaints: Complaints) -> Rows:
    paragraphs = article["paragraphs"]
    for number, paragraph in enumerate(paragraphs if isinstance(paragraphs, list) else [paragraphs], 1):
        where = f"{place}, paragraph {number}"
        questions = paragraph.get("qas") if isinstance(paragraph, dict) and "context" in paragraph else None
        if not isinstance(questions, list):
            complaints.error(where, f"expected 'context' and a list 'qas', found {paragraph!r:.80}.")
            continue
        about = {"context": paragraph["context"], "title": article.get("title")}
        for asked, question in enumerate(questions, 1):
            yield from _question(question, f"{where}, question {asked}", about, complaints)


def _question(item: Any, place: str, about: dict[str, Any], complaints: Complaints) -> Rows:
    """Yield the row of a question; ``about`` holds its context."""
    if not isinstance(item, dict) or "question" not in item:
        complaints.error(place, f"expected an object with 'question', found {item!r:.80}.")
        return
    row = {name: about.get(name, item.get(name)) for name in NAMES[:4]}
    if item.get("is_impossible") is True:
        row["answers"] = {"text": [], "answer_start": []}
    elif "answers" in item:
        row["answers"] = _columns(item["answers"])
    yield place if row["id"] is None else f"{place} ({row['id']})", {k: v for k, v in row.items() if v is not None}


def _columns(answers: Any) -> Any:
    """Return a list of answers as two lists; what is none of SQuAD's is left for the task to complain of."""
    if not isinstance(answers, list) or not all(
        isinstance(one, dict) and {"text", "answer_start"} <= one.keys() for one in answers
    ):
        return answers
    return {name: [one[name] for one in answers] for name in ("text", "answer_start")}
