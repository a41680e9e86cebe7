"""Rows of tagged words, and of texts with spans, as one thing: words with a place in a text, and a tag for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from headway.data.findings import MAX_EXAMPLES, Finding, shorten
from headway.data.tag_schemes import Entity, Scheme, entities_of, kinds_of, tags_of, to_iob2
from headway.data.text_spans import Span, WordSplit, entities_on_words, read_spans, words_of
from headway.errors import DataError
from headway.types import Row

if TYPE_CHECKING:
    from headway.data.table import Table


@dataclass(frozen=True, slots=True)
class Tagging:
    """How a row is read: ``tokens`` with ``tags``, or else ``text`` with ``spans``."""

    scheme: Scheme
    """Of the tags in the rows; what this gives is IOB2, or plain tags."""
    split: WordSplit
    overlaps: Literal["refuse", "longest"]

    def words(self, row: Row) -> tuple[str, list[tuple[int, int]]]:
        """Return the text of a row and the place of each word in it; tokens are joined by single blanks."""
        if "tokens" not in row:
            return row["text"], words_of(row["text"], self.split)
        places, start = [], 0
        for token in row["tokens"]:
            places.append((start, start + len(token)))
            start += len(token) + 1
        return " ".join(row["tokens"]), places

    def spans(self, row: Row) -> list[Span]:
        """Return the true spans of a text.

        Raises:
            DataError: see `headway.data.text_spans.read_spans`.
        """
        return read_spans(row["text"], row["spans"], overlaps=self.overlaps)

    def gold_tags(self, row: Row) -> list[str] | None:
        """Return the true tag of each word, or None where the row has no gold.

        Raises:
            DataError: tags and tokens differ in number, spans are wrong, or gold goes with the other kind of text.
        """
        if "tokens" in row:
            if "tags" in row:
                if len(row["tags"]) != len(row["tokens"]):
                    raise DataError(f"there are {len(row['tokens'])} tokens and {len(row['tags'])} tags.")
                return to_iob2([str(tag) for tag in row["tags"]], self.scheme)
            if "spans" in row:
                raise DataError("column 'spans' counts characters of a 'text', but the row has 'tokens'.")
        elif "spans" in row:
            words = self.words(row)[1]
            return tags_of(entities_on_words(self.spans(row), words)[0], len(words))
        elif "tags" in row:
            raise DataError("column 'tags' needs 'tokens'. Map the words in data.columns: {tokens: ...}.")
        return None

    def needed_tags(self, row: Row) -> list[str]:
        """Return the true tag of each word.

        Raises:
            DataError: as `gold_tags`, or the row has no gold.
        """
        if (tags := self.gold_tags(row)) is None:
            raise DataError("To score tags, every row needs 'tags' beside its 'tokens', or 'spans' beside its 'text'.")
        return tags

    def said_tags(self, row: Row, spans: Sequence[Any]) -> list[str]:
        """Return the tag of each word of a text for spans that were predicted."""
        words = self.words(row)[1]
        given = [Span(one["start"], one["end"], one["label"]) for one in spans]
        return tags_of(entities_on_words(given, words)[0], len(words))

    def entities(self, tags: Sequence[str]) -> list[Entity]:
        """Return the entities that tags mark; a plain tag marks its word."""
        if self.scheme == "none":
            return [(tag, number, number + 1) for number, tag in enumerate(tags)]
        return entities_of(tags)

    def labels_of_spans(self, row: Row) -> list[str]:
        """Return the labels of a row's spans; none where they are wrong, which shows when the row is encoded."""
        try:
            return [span.label for span in self.spans(row)]
        except DataError:
            return []

    def kinds_in(self, gold: Any) -> list[str]:
        """Return the different types in a gold cell: of its entities, or its plain tags."""
        if gold and not isinstance(gold[0], str):
            return sorted({str(one["label"] if isinstance(one, dict) else one[2]) for one in gold})
        return sorted({str(tag) for tag in gold}) if self.scheme == "none" else kinds_of(map(str, gold))

    def check(self, split: str, table: Table) -> Iterator[Finding]:
        """Check a split for spans that words cannot give exactly, and for tags that their scheme forbids."""
        inexact: list[int] = []
        repaired: list[int] = []
        for number, row in enumerate(table):
            if "tokens" not in row and "spans" in row:
                inexact += [number] * entities_on_words(self.spans(row), self.words(row)[1])[1]
            elif self.scheme == "IOB2" and "tags" in row:
                given = [str(tag) for tag in row["tags"]]
                pairs = zip(to_iob2(given, "IOB2"), given, strict=True)
                repaired += [number] * sum(one != other for one, other in pairs)
        for name, rows, what, mend in (
            (
                "span_within_word",
                inexact,
                "Spans that begin or end within a word, or at a blank, while the model can only give whole words",
                "Move their ends to those of the words (task.words: parts cuts words at every sign).",
            ),
            (
                "entity_without_beginning",
                repaired,
                "Tags I- behind O or another type, each of which is read as the beginning of an entity",
                "Write B- there, or name another task.scheme if the rows keep to it.",
            ),
        ):
            if rows:
                first = list(dict.fromkeys(rows))[:MAX_EXAMPLES]
                shown = [{"where": table.where(one), "value": shorten(self.words(table[one])[0])} for one in first]
                yield Finding(name, split, len(rows), f"{what}: {len(rows):,}.", mend, shown)
