"""What sentence-transformers looks for in a folder, beside the model itself, to give the same vectors as headway.

Its older class names are written, which every version since 2 reads.
"""

from __future__ import annotations

from typing import Any


def companions(
    *, width: int, pooling: str, normalize: bool, max_length: int, query_prefix: str, passage_prefix: str
) -> dict[str, Any]:
    """Return path in the folder -> plain JSON.

    Args:
        width: of the backbone's hidden vectors.
        pooling: ``cls``, ``mean`` or ``max``.
        normalize: whether vectors are scaled to length 1.
        max_length: tokens of a text that the model sees; there the beginning is kept.
        query_prefix: stands before a query, and before a text without a role.
        passage_prefix: stands before what is searched.
    """
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    return {
        "modules.json": [
            {
                "idx": number,
                "name": str(number),
                "path": f"{number}_{kind}" if number else "",
                "type": f"sentence_transformers.models.{kind}",
            }
            for number, kind in enumerate(kinds)
        ],
        "sentence_bert_config.json": {"max_seq_length": max_length, "do_lower_case": False},
        "1_Pooling/config.json": {
            "word_embedding_dimension": width,
            "pooling_mode_cls_token": pooling == "cls",
            "pooling_mode_mean_tokens": pooling == "mean",
            "pooling_mode_max_tokens": pooling == "max",
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
        "config_sentence_transformers.json": {
            "prompts": {"query": query_prefix, "document": passage_prefix},
            "default_prompt_name": "query" if query_prefix else None,
            "similarity_fn_name": "cosine",
        },
    }
