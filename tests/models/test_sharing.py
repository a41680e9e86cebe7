"""Models of several tasks on one body: the weights are the same objects, the heads are not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoModelForTokenClassification

from headway.errors import RecipeError
from headway.models.sharing import share_body


def test_the_body_is_one_and_the_heads_are_several(tiny_bert: Path) -> None:
    kinds = (AutoModelForTokenClassification, AutoModelForSequenceClassification, AutoModelForMaskedLM)
    tagger, classifier, language = (kind.from_pretrained(tiny_bert).eval() for kind in kinds)
    inputs = {"input_ids": torch.tensor([[2, 7, 9, 3]])}
    before = [model(**inputs).logits for model in (tagger, classifier, language)]
    share_body([tagger, classifier, nn.Sequential(language)])
    for model, logits in zip((tagger, classifier, language), before, strict=True):
        torch.testing.assert_close(model(**inputs).logits, logits)
    own = dict(tagger.bert.named_parameters())
    for model in (classifier, language):
        assert all(own[name] is one for name, one in model.bert.named_parameters() if name in own)
    assert classifier.classifier.weight is not tagger.classifier.weight
    assert classifier.bert.pooler is not None
    # The output layer of a language model follows the embeddings that it is tied to.
    assert language.cls.predictions.decoder.weight is tagger.bert.embeddings.word_embeddings.weight
    total = sum(one.numel() for one in nn.ModuleList([tagger, classifier, language]).parameters())
    assert total < sum(one.numel() for one in tagger.parameters()) * 2


def test_what_only_some_bodies_have_is_shared_among_these(tiny_bert: Path) -> None:
    tagger = AutoModelForTokenClassification.from_pretrained(tiny_bert)
    first, second = (AutoModelForSequenceClassification.from_pretrained(tiny_bert) for _ in range(2))
    share_body([tagger, first, second])
    assert first.bert.pooler.dense.weight is second.bert.pooler.dense.weight


def test_a_step_of_one_moves_all(tiny_bert: Path) -> None:
    models = [AutoModelForSequenceClassification.from_pretrained(tiny_bert) for _ in range(2)]
    share_body(models)
    optimizer = torch.optim.SGD(models[0].parameters(), lr=1.0)
    before = models[1].bert.encoder.layer[0].attention.self.query.weight.clone()
    models[0](input_ids=torch.tensor([[2, 7, 9, 3]]), labels=torch.tensor([1])).loss.backward()
    optimizer.step()
    assert not torch.equal(models[1].bert.encoder.layer[0].attention.self.query.weight, before)


def test_a_model_without_a_body_is_refused(tiny_bert: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    with pytest.raises(RecipeError, match="not built on one of transformers"):
        share_body([model, nn.Linear(2, 2)])
