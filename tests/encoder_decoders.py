"""Tiny encoder-decoders of several families with random weights and tokenizers of their own, as folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

PAIRS = [
    ("the dog sleeps in the garden", "der Hund schläft im Garten"), ("a cat drinks milk", "eine Katze trinkt Milch"),
    ("two men play music", "zwei Männer spielen Musik"), ("the sun is bright today", "die Sonne ist heute hell"),
    ("a child eats an apple", "ein Kind isst einen Apfel"), ("we go to the old house", "wir gehen zum alten Haus"),
    ("the train is very late", "der Zug kommt sehr spät"), ("my book is on the table", "mein Buch liegt auf dem Tisch"),
]  # fmt: skip
CORPUS = [text for pair in PAIRS for text in pair] * 4
SIZES = {"d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
         "decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128}  # fmt: skip


def unigrams() -> list[tuple[str, float]]:
    from tokenizers import SentencePieceUnigramTokenizer

    trained = SentencePieceUnigramTokenizer()
    trained.train_from_iterator(
        CORPUS, vocab_size=160, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    return [(piece, score) for piece, score in json.loads(trained.to_str())["model"]["vocab"]]


def write_t5(folder: Path) -> None:
    from transformers import T5Tokenizer

    tokenizer = T5Tokenizer(vocab=unigrams(), extra_ids=0, model_max_length=64)
    tokenizer.save_pretrained(folder)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, dropout_rate=0.0,
        decoder_start_token_id=0,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)


def write_bart(folder: Path) -> None:
    from tokenizers import ByteLevelBPETokenizer
    from transformers import BartTokenizerFast

    pairs = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pairs.train_from_iterator(CORPUS, vocab_size=330, special_tokens=special, show_progress=False)
    pairs.save_model(str(folder))
    tokenizer = BartTokenizerFast.from_pretrained(str(folder), model_max_length=64)
    tokenizer.save_pretrained(folder)
    config = BartConfig(vocab_size=len(tokenizer), max_position_embeddings=64, dropout=0.0, **SIZES)
    BartForConditionalGeneration(config).save_pretrained(folder)


def write_marian(folder: Path) -> None:
    import sentencepiece
    from transformers import MarianTokenizer

    pieces = {"</s>": 0, "<unk>": 1}
    for side, texts in (("source", [one for one, _ in PAIRS]), ("target", [two for _, two in PAIRS])):
        with (folder / f"{side}.spm").open("wb") as file:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(texts * 4), model_writer=file, vocab_size=45, minloglevel=2
            )
        model = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{side}.spm"))
        for number in range(len(model)):
            if model.id_to_piece(number) not in ("<s>", "</s>", "<unk>"):
                pieces.setdefault(model.id_to_piece(number), len(pieces))
    pieces["<pad>"] = len(pieces)
    (folder / "vocab.json").write_text(json.dumps(pieces))
    tokenizer = MarianTokenizer(
        source_spm=str(folder / "source.spm"), target_spm=str(folder / "target.spm"), vocab=str(folder / "vocab.json"),
        source_lang="en", target_lang="de", model_max_length=64,
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    config = MarianConfig(
        vocab_size=len(pieces), max_position_embeddings=64, dropout=0.0, pad_token_id=pieces["<pad>"],
        decoder_start_token_id=pieces["<pad>"], eos_token_id=0, forced_eos_token_id=0, scale_embedding=True, **SIZES,
    )  # fmt: skip
    MarianMTModel(config).save_pretrained(folder)


def write_mbart(folder: Path) -> None:
    from transformers import MBartTokenizerFast

    vocabulary = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *unigrams()[3:]]
    tokenizer = MBartTokenizerFast(vocab=vocabulary, src_lang="en_XX", tgt_lang="de_DE", model_max_length=64)
    tokenizer.save_pretrained(folder)
    config = MBartConfig(vocab_size=len(tokenizer), max_position_embeddings=64, dropout=0.0, **SIZES)
    MBartForConditionalGeneration(config).save_pretrained(folder)


FAMILIES: dict[str, tuple[Callable[[Path], None], dict[str, Any]]] = {
    "t5": (write_t5, {"source_prefix": "translate: "}),
    "bart": (write_bart, {}),
    "marian": (write_marian, {}),
    "mbart": (write_mbart, {"source_lang": "en_XX", "target_lang": "de_DE"}),
}
