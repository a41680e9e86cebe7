"""A subword vocabulary of one's own, learnt from plain texts of one language or several.

It is of SentencePiece's form (Kudo and Richardson 2018, arXiv:1808.06226): a blank is the letter "▁" of the word behind
it, so a text can be put together again from its pieces, and a letter that is no piece becomes the bytes of its UTF-8
form, so no text holds anything unknown. The pieces are byte pairs (Sennrich et al. 2016, arXiv:1508.07909), not the
unigram model: the trainer of unigrams in `tokenizers` gives other pieces each time, and cuts the same text into more.
"""

from __future__ import annotations

import collections
import json
from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from headway.errors import DataError, RecipeError

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
SPECIAL = (PAD, END, UNKNOWN)
BLANK = "▁"
BYTES = tuple(f"<0x{number:02X}>" for number in range(256))
LONGEST_PIECE = 16
"""Characters of a piece, as in SentencePiece; without a bound, whole sentences of scripts without blanks become one."""
FEWEST_TIMES = 2
"""How often two pieces must stand side by side to become one: what occurs once is learnt by heart, not understood."""

# Digits stand alone, so that a number is copied and not looked up; punctuation and symbols keep apart from letters, so
# that "dog." is no word of its own. The letter "▁", a symbol to Unicode, belongs to what follows.
_APART = r"▁?\p{N}|▁?[[\p{P}\p{S}]&&[^▁]]+"


def train_vocabulary(
    texts: Sequence[str],
    *,
    vocab_size: int,
    max_length: int,
    lowercase: bool = False,
    character_coverage: float = 0.9995,
) -> Any:
    """Return a fast tokenizer of transformers whose vocabulary was learnt from the texts; the same texts give the same.

    A text becomes its pieces and the end, ``</s>``. Texts are brought into the Unicode form NFKC, and blanks side by
    side are one.

    Args:
        texts: of all languages that the vocabulary is for.
        vocab_size: pieces, with the special tokens and the 256 bytes.
        max_length: tokens of a text that the model will see, which the tokenizer states.
        lowercase: whether capital letters are read as small ones.
        character_coverage: share of the texts' characters that are pieces; the rarest others become bytes.

    Raises:
        DataError: the texts do not hold so many pieces.
        RecipeError: the size leaves no room for pieces beside the letters.
    """
    normalizer = _normalizer(lowercase=lowercase)
    lines = [normalizer.normalize_str(text) for text in texts]
    letters, rare = _letters(lines, character_coverage)
    least = len(SPECIAL) + len(BYTES) + len(letters)
    if vocab_size <= least:
        raise RecipeError(
            f"A vocabulary of {vocab_size:,} has no room for words: {len(SPECIAL)} special tokens, {len(BYTES)} bytes "
            f"and the {len(letters):,} letters of these texts are {least:,} already. Raise --vocab_size, or lower "
            "--character_coverage."
        )
    merges = _merges(lines, letters, rare, num_pieces=vocab_size - len(SPECIAL) - len(BYTES))
    # The merges alone say what the pieces are: each joins two of those before it.
    pieces = [*SPECIAL, *BYTES, *letters, *dict.fromkeys(left + right for left, right in merges)]
    if len(pieces) < vocab_size:
        smaller = f", or set --vocab_size {len(pieces)} or less" if merges else ""
        raise DataError(
            f"The texts ({len(texts):,}) give a vocabulary of {len(pieces):,}, and --vocab_size asks for "
            f"{vocab_size:,}: nothing else occurs {FEWEST_TIMES} times in them. Give more texts{smaller}."
        )
    model = models.BPE(
        vocab={piece: number for number, piece in enumerate(pieces)},
        merges=merges,
        unk_token=UNKNOWN,
        byte_fallback=True,
    )
    backend = _tokenizer(model)
    backend.normalizer = normalizer
    end = pieces.index(END)
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", pair=f"$A {END} $B {END}", special_tokens=[(END, end)]
    )
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        # A text that holds the letters "</s>" does not end there.
        split_special_tokens=True,
        # It would take blanks away that the text had.
        clean_up_tokenization_spaces=False,
    )


def _normalizer(*, lowercase: bool) -> normalizers.Normalizer:
    steps = [normalizers.NFKC(), *([normalizers.Lowercase()] if lowercase else [])]
    return normalizers.Sequence([*steps, normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()])


def _tokenizer(model: models.Model) -> Tokenizer:
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Split(Regex(_APART), "isolated")]
    )
    return backend


def _letters(lines: Iterable[str], coverage: float) -> tuple[list[str], list[str]]:
    """Return the characters that are pieces, the most frequent first, and those that are too rare."""
    counts: collections.Counter[str] = collections.Counter()
    for line in lines:
        counts.update(line)
    # Every word begins with it, so it is a piece in any case.
    del counts[" "], counts[BLANK]
    # Of equally frequent ones the order is that of Unicode, so that it never falls by chance.
    ordered = sorted(counts, key=lambda letter: (-counts[letter], letter))
    wanted, found = coverage * counts.total(), 0
    for number, letter in enumerate(ordered):
        if found >= wanted:
            return [BLANK, *ordered[:number]], ordered[number:]
        found += counts[letter]
    return [BLANK, *ordered], []


def _merges(
    lines: Sequence[str], letters: Sequence[str], rare: Sequence[str], *, num_pieces: int
) -> list[tuple[str, str]]:
    """Return which pieces are joined, in the order learnt, so that with the letters there are ``num_pieces``."""
    backend = _tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=num_pieces,
        min_frequency=FEWEST_TIMES,
        max_token_length=LONGEST_PIECE,
        initial_alphabet=list(letters),
        show_progress=False,
    )
    # The letters beside a rare one never become a piece across it.
    apart = str.maketrans(dict.fromkeys(rare, " "))
    backend.train_from_iterator((line.translate(apart) for line in lines), trainer, length=len(lines))
    return [(left, right) for left, right in json.loads(backend.to_str())["model"]["merges"]]
