"""Backbones and tokenizers small enough for every test, built offline."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

WORDS = (  # noqa: SIM905 - a list of a hundred lines is no easier to read
    "a an the this that it is was were are not no very too and but or of in on at to for with from by as good bad "
    "great poor fine awful lovely dull bright slow fast happy sad book film food room train garden song story plot "
    "actor music meal soup bread table chair window door day night man woman child dog cat house street city sun rain "
    "red blue green old new small large one two three liked hated loved enjoyed found made went came never always "
    "often really quite almost i you he she we they my your his her our their what who when where why how "
).split()
PIECES = ["##s", "##ed", "##ing", "##ly", "##er", "##y", "##e", "##n", "##t"]


# There is one such server in a process, and it takes its preload from before its first child: children of tests then
# start in a moment instead of importing everything anew.
multiprocessing.get_context("forkserver").set_forkserver_preload(["headway.train"])


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the token caches of tests out of the user's own."""
    os.environ["HEADWAY_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets: `$HEADWAY_TEST_DATA`, else `shared/data` beside the checkout."""
    folder = Path(os.environ.get("HEADWAY_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"the public data sets are not here: no folder {folder} (set HEADWAY_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of 2 layers and width 32 with random weights and a word-piece vocabulary, as a Hugging Face folder."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-bert")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'\"-"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *PIECES]
    vocabulary += [token for letter in letters for token in (letter, f"##{letter}") if token not in vocabulary]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(vocabulary)), encoding="utf-8")
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RoBERTa of 2 layers and width 32 with random weights and a vocabulary of byte pairs."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-roberta")
    pairs = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pairs.train_from_iterator([" ".join(WORDS)] * 4, vocab_size=320, special_tokens=special, show_progress=False)
    pairs.save_model(str(folder))
    tokenizer = RobertaTokenizerFast.from_pretrained(str(folder), model_max_length=62)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1,
    )  # fmt: skip
    RobertaModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_distilbert(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DistilBERT of 2 layers and width 32 with random weights and the vocabulary of `tiny_bert`."""
    import torch
    from transformers import AutoTokenizer, DistilBertConfig, DistilBertModel

    folder = tmp_path_factory.mktemp("tiny-distilbert")
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = DistilBertConfig(
        vocab_size=len(tokenizer), dim=32, hidden_dim=64, n_layers=2, n_heads=4, max_position_embeddings=64
    )
    DistilBertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def reviews_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 short reviews, half of them good and half bad, which a tiny model learns in a second."""
    import random

    chosen = random.Random(0)
    adjectives = {
        "good": ["great", "lovely", "bright", "happy", "fine"],
        "bad": ["awful", "poor", "dull", "slow", "sad"],
    }
    nouns = ["book", "film", "food", "room", "train", "garden", "song", "story"]
    lines = ["text,label"]
    for number in range(40):
        label = "good" if number % 2 else "bad"
        words = f"the {chosen.choice(nouns)} was {chosen.choice(adjectives[label])}"
        lines.append(f"{words}{' and very' * (number % 5)} {number},{label}")
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def finished_run(tiny_bert: Path, reviews_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of text classification over `reviews_csv`; do not change it."""
    from headway.recipe import Recipe
    from headway.train import train

    folder = tmp_path_factory.mktemp("runs") / "reviews"
    recipe = {
        "task": "text-classification",
        "data": {"train": str(reviews_csv), "validation": 0.2, "test": str(reviews_csv), "max_length": 16},
        "model": {"model_name_or_path": str(tiny_bert)},
        "optimization": {"learning_rate": 5e-3, "warmup_ratio": 0.1},
        "training": {
            "num_train_epochs": 12,
            "per_device_train_batch_size": 8,
            "logging_steps": 2,
            "bf16": False,
            "metric_for_best_model": "loss",
        },
    }
    train(Recipe.from_dict(recipe), output_dir=folder)
    return folder
