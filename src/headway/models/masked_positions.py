"""A language model's logits at some positions only: the head is most of the work, and most positions are not asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def logits_at(
    model: Any, inputs: Mapping[str, Any], rows: Tensor, columns: Tensor, *, body: nn.Module | None = None
) -> Mapping[str, Any]:
    """Return what a language model of transformers says, its token logits at the chosen positions only.

    Every family computes ``head(base_model(inputs).last_hidden_state)``, token by token, under other private names.
    So nothing of the head is called here: a hook on the public ``base_model`` hands on the hidden vectors of the
    chosen positions alone, as one sequence, and the model's own ``forward`` does the rest. What the base model pools
    (for the next-sentence head) is untouched. Of an encoder-decoder the vectors are those of its decoder.

    Args:
        model: of `AutoModelForMaskedLM`, `AutoModelForPreTraining` or `AutoModelForSeq2SeqLM`.
        inputs: (batch, tokens) each.
        rows: (positions,) row of each position.
        columns: (positions,) its place in the row.
        body: the part of the model whose vectors enter the head; empty takes ``base_model``.

    Returns:
        The model's outputs; token logits are (1, positions, vocabulary).
    """

    def keep_chosen(module: nn.Module, arguments: Any, outputs: Any) -> Any:
        hidden = outputs.last_hidden_state[rows, columns][None]  # (1, positions, hidden)
        return type(outputs)(**{**outputs, "last_hidden_state": hidden})

    hook = (model.base_model if body is None else body).register_forward_hook(keep_chosen)
    try:
        outputs: Mapping[str, Any] = model(**inputs)
    finally:
        hook.remove()
    return outputs
