"""`headway vocabulary`: learn a vocabulary from texts, and make a new small model for it."""

from __future__ import annotations

import json
from typing import Annotated, Any

from cyclopts import Parameter, validators

AtLeastOne = Annotated[int, Parameter(validator=validators.Number(gte=1))]
AtLeastTwo = Annotated[int, Parameter(validator=validators.Number(gte=2))]


def train(
    file: str,
    /,
    *more: Annotated[str, Parameter(allow_leading_hyphen=True)],
    output: str,
    vocab_size: AtLeastOne = 8000,
    columns: str | None = None,
    lowercase: bool = False,
    character_coverage: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=1))] = 0.9995,
    num_layers: AtLeastOne = 3,
    d_model: AtLeastTwo = 256,
    num_heads: AtLeastOne = 4,
    ffn_dim: AtLeastOne = 1024,
    dropout: Annotated[float, Parameter(validator=validators.Number(gte=0, lt=1))] = 0.1,
    max_length: AtLeastTwo = 256,
    seed: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 0,
    overwrite: bool = False,
    json_: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Learn one vocabulary from texts of both languages, and write it with a new, untrained translation model.

    The folder is one that a recipe may name as `model.model_name_or_path`, for a language pair that no pretrained
    model fits. Plain text (`.txt`, or any name that tells no format, also `.gz`) has one text a line; of tables,
    columns are read. `--data.format`, `--data.encoding` and the other reading options of a recipe say how.

    Args:
        file: Texts: plain text or a table.
        more: More files, and reading options.
        output: The folder to make.
        vocab_size: Pieces of the vocabulary, with 3 special tokens and the 256 bytes.
        columns: The columns of a table that hold texts, as `de,en`; empty takes `source` and `target`.
        lowercase: Read capital letters as small ones.
        character_coverage: Share of the texts' characters that are pieces; the rarest others become bytes.
        num_layers: Layers of the encoder, and as many of the decoder.
        d_model: Width of the embeddings and hidden vectors.
        num_heads: Attention heads of a layer.
        ffn_dim: Width inside the feed-forward parts.
        dropout: Dropout of the embeddings and of each part's output.
        max_length: Tokens of a source or a target that have a position.
        seed: Draws the weights.
        overwrite: Replace a folder that this command made.
        json_: Print one JSON object on standard output.
    """
    from headway.models.new_model import ModelSize
    from headway.recipe import parse_overrides
    from headway.vocabulary import build_vocabulary

    others, options = _apart(more)
    made = build_vocabulary(
        [file, *others],
        output,
        columns=[name.strip() for name in columns.split(",")] if columns else (),
        reading=parse_overrides(options),
        vocab_size=vocab_size,
        character_coverage=character_coverage,
        lowercase=lowercase,
        size=ModelSize(
            num_layers=num_layers,
            d_model=d_model,
            num_heads=num_heads,
            ffn_dim=ffn_dim,
            dropout=dropout,
            max_length=max_length,
        ),
        seed=seed,
        overwrite=overwrite,
    )
    print(json.dumps({"folder": output, **made}) if json_ else _text(made, output))


def _apart(tokens: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Return the files, and the options with their values."""
    files, options = [], []
    remaining = list(tokens)
    while remaining:
        token = remaining.pop(0)
        if not token.startswith("--"):
            files.append(token)
            continue
        options.append(token)
        if "=" not in token and remaining:
            options.append(remaining.pop(0))
    return files, options


def _text(made: dict[str, Any], output: str) -> str:
    lines = [
        f"{made['texts']:,} texts, {made['tokens_per_text']} tokens each, the longest {made['longest_text']:,}; "
        f"{made['share_of_bytes']:.2%} of the tokens are bytes.",
        f"{output}: a vocabulary of {made['vocab_size']:,}, an untrained model of {made['parameters']:,} parameters.",
    ]
    if made["texts_over_max_length"]:
        lines.append(
            f"{made['texts_over_max_length']:,} texts are longer than the model's {made['model']['max_length']} tokens "
            "(--max_length); training will cut them."
        )
    return "\n".join([*lines, "", f"Recipe:   model: {{model_name_or_path: {output}}}"])
