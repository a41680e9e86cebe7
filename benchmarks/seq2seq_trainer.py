"""A text-to-text model trained with transformers' `Seq2SeqTrainer`, as its users write it; nothing here knows headway.

After the examples run_summarization.py and run_translation.py of transformers, and for an encoder that becomes an
encoder-decoder after the page of `EncoderDecoderModel` in its documentation.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def train_and_generate(
    settings: dict[str, Any],
    arguments: dict[str, Any],
    *,
    folder: Path,
    callbacks: list[Any],
    stopwatch: Callable[[], Any],
) -> dict[str, Any]:
    """Train on ``train.jsonl`` of a folder and write a text for each row of ``test.jsonl``.

    Args:
        settings: model, whether its encoder stays as it is, lengths and how texts are generated.
        arguments: of `Seq2SeqTrainingArguments`.
        folder: of the rows, each with ``source`` and the list ``target``.
        callbacks: of the Trainer.
        stopwatch: a context manager around what turns the sources of the test rows into texts.

    Returns:
        ``texts``; ``train_tokens`` and ``target_tokens`` of one pass over the training rows; ``losses``, as logged.
    """
    import numpy as np
    from datasets import Dataset
    from transformers import (
        AutoConfig,
        AutoModelForSeq2SeqLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        DataCollatorWithPadding,
        EncoderDecoderModel,
        Seq2SeqTrainer,
        Seq2SeqTrainingArguments,
        set_seed,
    )

    set_seed(arguments["seed"])
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    if AutoConfig.from_pretrained(settings["model"]).is_encoder_decoder:
        model = AutoModelForSeq2SeqLM.from_pretrained(settings["model"])
    else:
        model = EncoderDecoderModel.from_encoder_decoder_pretrained(settings["model"], settings["model"])
        model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id = tokenizer.cls_token_id
        model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.sep_token_id
        model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    if settings["freeze"] == "all":
        model.get_encoder().requires_grad_(False)
    start = model.config.decoder_start_token_id
    max_length = min(settings["max_length"], tokenizer.model_max_length)

    def tokenize_sources(rows: dict[str, list[Any]]) -> Any:
        return tokenizer(rows["source"], truncation=True, max_length=max_length)

    def tokenize(rows: dict[str, list[Any]]) -> Any:
        found = tokenize_sources(rows)
        targets = tokenizer(
            text_target=[texts[0] for texts in rows["target"]],
            truncation=True,
            max_length=settings["max_target_length"],
        )
        # BERT's [CLS] starts the decoder already; nobody need learn to write it.
        found["labels"] = [ids[1:] if ids[0] == start else ids for ids in targets["input_ids"]]
        return found

    def load(split: str) -> Any:
        lines = (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return Dataset.from_dict({name: [row[name] for row in rows] for name in ("source", "target")})

    columns = ["source", "target"]
    train_rows = load("train").map(tokenize, batched=True, remove_columns=columns)
    trainer = Seq2SeqTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(predict_with_generate=True, **arguments),
        train_dataset=train_rows,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        processing_class=tokenizer,
        callbacks=callbacks,
    )
    trainer.train()

    # Length grouping would also shuffle the rows of `predict`.
    trainer.args.train_sampling_strategy = "random"
    # Without labels, of which `predict` would also compute a loss.
    trainer.data_collator = DataCollatorWithPadding(tokenizer)
    test_rows = load("test")
    with stopwatch():
        encoded = test_rows.map(tokenize_sources, batched=True, remove_columns=columns)
        output = trainer.predict(encoded, max_new_tokens=settings["max_target_length"], **settings["generation"])
        ids = np.where(output.predictions < 0, tokenizer.pad_token_id, output.predictions)
        texts = [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
    return {
        "texts": texts,
        "train_tokens": sum(map(len, train_rows["input_ids"])),
        "target_tokens": sum(map(len, train_rows["labels"])),
        "losses": [[one["step"], one["loss"]] for one in trainer.state.log_history if "loss" in one],
    }
