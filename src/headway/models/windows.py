"""A model that reads a long text in windows: it scores each window alone, and the scores of a row become one.

Stands around the model of any task whose rows may be several windows (``num_windows`` among the inputs). Rows of one
window get the logits of the model itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from headway.models.heads import HeadedModel
from headway.models.pooling import attention_scorer, pool
from headway.models.unread_tokens import read_all_tokens

TOKENS_PER_SLICE = 8192
"""Tokens of windows, with their padding, that the model reads at once: 16 windows of 512."""


class WindowedModel(nn.Module):
    """A model that reads windows, and the pooling of their logits.

    However long the texts of a batch are, memory holds the activations of one slice of windows. A batch of more than
    `TOKENS_PER_SLICE` tokens goes through the model in slices; in training, the activations of each slice are computed
    again in the backward pass (Chen et al. 2016, arXiv:1604.06174), which costs about a third more time.
    """

    def __init__(self, model: Any, *, pooling: str) -> None:
        """Wrap ``model``, a transformers model or a `HeadedModel` that returns logits; pool by ``pooling``.

        Args:
            model: reads single windows.
            pooling: ``mean`` or ``max`` of the logits, or ``attention``: their mean with weights that a small network
                gives each window by the mean of its tokens' vectors (Yang et al. 2016, "Hierarchical attention
                networks for document classification"). It begins as the plain mean.
        """
        super().__init__()
        self.model = model
        self.pooling = pooling
        self.attention: nn.Module | None = None
        if pooling == "attention":
            read_all_tokens(model)
            self.attention = attention_scorer(self._body.config.hidden_size)
        self.train(model.training)

    def forward(self, num_windows: Tensor | None = None, **inputs: Tensor) -> dict[str, Tensor]:
        """Return the logits (rows, labels).

        Args:
            num_windows: (rows,) how many of the sequences belong to each row; None: one each.
            inputs: the tokenizer's tensors (sequences, tokens), the windows of a row one after another.
        """
        logits, scores = self._read(inputs)  # (sequences, labels), (sequences, 1)
        if num_windows is None:
            return {"logits": logits}
        sizes = num_windows.tolist()
        if scores is None:
            rows = [self._joined(windows) for windows in torch.split(logits, sizes)]
        else:
            weights = [part.float().softmax(0) for part in torch.split(scores, sizes)]
            rows = [
                (weight * windows).sum(0).to(windows.dtype)
                for weight, windows in zip(weights, torch.split(logits, sizes), strict=True)
            ]
        return {"logits": torch.stack(rows)}

    def description(self) -> dict[str, Any]:
        """Return what rebuilds this model around the one it wraps, as plain JSON."""
        return {"pooling": self.pooling}

    @property
    def _body(self) -> Any:
        """The pretrained model, whose vectors of tokens the attention looks at."""
        return self.model.backbone if isinstance(self.model, HeadedModel) else self.model.base_model

    def _joined(self, logits: Tensor) -> Tensor:
        # Summed in float32; of one window it is the same number again.
        return logits.amax(0) if self.pooling == "max" else logits.float().mean(0).to(logits.dtype)

    def _read(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Return logits and attention scores of all sequences."""
        num_sequences, num_tokens = next(iter(inputs.values())).shape
        size = max(1, TOKENS_PER_SLICE // num_tokens)
        if num_sequences <= size:
            return self._read_slice(inputs)
        parts = []
        for start in range(0, num_sequences, size):
            part = {name: tensor[start : start + size] for name, tensor in inputs.items()}
            if torch.is_grad_enabled():
                # The state of the random numbers is kept with it, so dropout is the same both times.
                parts.append(checkpoint(self._read_slice, part, use_reentrant=False))
            else:
                parts.append(self._read_slice(part))
        logits = torch.cat([one for one, _ in parts])
        return logits, None if self.attention is None else torch.cat([scores for _, scores in parts])

    def _read_slice(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        if self.attention is None:
            return self.model(**inputs)["logits"], None
        seen: list[Tensor] = []
        # Each family calls the vectors of its last layer by another way; all get them from the body's first output.
        hook = self._body.register_forward_hook(lambda module, given, outputs: seen.append(outputs[0]))
        try:
            logits = self.model(**inputs)["logits"]
        finally:
            hook.remove()
        return logits, self.attention(pool(seen[0], inputs.get("attention_mask"), how="mean"))
