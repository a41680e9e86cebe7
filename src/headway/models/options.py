"""The recipe's ``model`` section: which pretrained model, under which head, and what of it may change."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from headway.importing import Choice
from headway.types import Options

KINDS = {
    "sequence-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "multiple-choice": "AutoModelForMultipleChoice",
    "masked-lm": "AutoModelForMaskedLM",
    "pretraining": "AutoModelForPreTraining",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "features": "AutoModel",
}
"""What a task may ask `Backbone.build` for -> the class of transformers that has this head."""

AttentionImplementation = Literal["eager", "sdpa", "flash_attention_2", "flex_attention"]


class ModelOptions(Options):
    """Which pretrained model is tuned, and how it is changed."""

    model_name_or_path: str = Field(default="minilm", min_length=1)
    """The pretrained model: `minilm` (comes with headway[offline], needs no network), a folder, or a name on the
    Hugging Face hub."""

    revision: str | None = None
    """Branch, tag or commit of a hub model; name a commit to make the run repeatable for ever."""

    head: Choice = Choice(name="default")
    """What stands on the backbone: `default` (the model family's own head), `linear`, `mlp`, or the import path of
    your own nn.Module; over a frozen backbone also `svm`, `logistic_regression` or the import path of any estimator of
    scikit-learn. Options stand beside the name: {name: mlp, layer_size: 256}. Embeddings and core training keep to
    `default`."""

    pooling: Literal["cls", "mean", "max", "attention"] | None = None
    """How the vectors of a text's tokens become one vector: that of the first token, their mean, their maximum, or a
    mean with weights that are learnt (under a head only). Empty takes `cls` under a head and, for embeddings, what the
    model was tuned with, else `mean`. The head `default` pools in its own way."""

    pooling_layers: int = Field(default=1, ge=1)
    """Of how many of the last layers the vectors stand side by side under a head (Devlin et al. 2019, table 7: 4 of
    them serve a frozen BERT best). The head `default` takes the last one."""

    freeze: Literal["none", "all"] | Annotated[int, Field(strict=True, ge=0)] = "none"
    """Which pretrained weights stay as they are: `none`, `all`, or a number n: the embeddings and first n layers."""

    cache_frozen: bool = False
    """With `freeze: n`, compute what the frozen layers say of each row once, without dropout in them, and train the
    layers above from there. The vectors of all tokens are kept in the cache."""

    num_hidden_layers: int | None = Field(default=None, ge=1)
    """Keep so many of the layers, evenly spread from the first to the last, for a smaller and faster model; empty keeps
    all. Best under a teacher (`optimization.distillation`)."""

    reinit_layers: int = Field(default=0, ge=0)
    """Number of layers from the top whose weights are drawn anew, with the pooler, before training: steadier on small
    data (Zhang et al. 2021, arXiv:2006.05987)."""

    adapter: Choice | None = None
    """Leave the pretrained weights as they are and train a few new ones beside them (needs headway[adapters]): `lora`,
    `dora`, `ia3` or `prefix`, with the options of peft: {name: lora, r: 8, lora_alpha: 16}. Saved as `adapter/` for
    peft, and merged into the model; a prefix lies beside it."""

    encode_once: bool = True
    """With `freeze: all` under a head of its own, keep what the backbone says of each row in the cache instead of
    computing it anew each epoch. Another head over the same rows then starts at once."""

    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Dropout of the hidden vectors and before the head; empty keeps what the model was pretrained with. Dropout of
    attention weights is left as it is."""

    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, about a third more time."""

    attn_implementation: AttentionImplementation | None = None
    """How attention is computed: `eager`, `sdpa`, `flash_attention_2` or `flex_attention`; empty lets transformers
    choose. Kernels from a hub are not accepted."""

    packing: bool = True
    """Leave padding out of the computation: the same numbers in less time where lengths differ. Families that cannot
    (MPNet, DeBERTa, T5 and others), and an `attn_implementation` of your choice, compute it as ever."""

    skip_unread_tokens: bool = True
    """Where the head reads only the first token of a text (most families' own heads, and `pooling: cls`), let the last
    layer compute nothing else: the same numbers, sooner."""

    sorted_weights: bool = True
    """Predict and evaluate with weights in the order in which the processor's matrix product reads them: the same
    numbers, sooner. It takes as much memory again as the linear layers have, while it predicts."""

    fast_dropout: bool = True
    """On a processor, draw the masks of dropout 16 bits at a time: the same dropout, at a fifth of its time."""

    trust_remote_code: bool = False
    """Run Python code that comes with the model. Leave it off unless you have read that code."""

    @property
    def has_prefix(self) -> bool:
        """Whether keys and values are learnt that stand before the text's own."""
        return self.adapter is not None and self.adapter.name == "prefix"

    @model_validator(mode="after")
    def _caches_what_is_frozen(self) -> Self:
        if self.cache_frozen and (isinstance(self.freeze, str) or self.freeze < 1):
            raise ValueError(
                f"cache_frozen keeps what the lowest layers say, and freeze is {self.freeze!r}; set freeze to the "
                "number of these layers, 1 or more (with 'all' under a head of its own, encode_once keeps it)"
            )
        return self

    @property
    def asks_once(self) -> bool:
        """Whether a backbone that never changes is to be asked only once for each row."""
        return self.freeze == "all" and self.encode_once
