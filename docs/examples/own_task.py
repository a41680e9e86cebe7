"""A task of your own: a text gets 1 to 5 stars, and 4 for 5 is a smaller mistake than 1 for 5."""

from typing import ClassVar

import torch

from headway.data.batching import pad
from headway.data.truncation import encode_text
from headway.errors import DataError
from headway.tasks.base import Task
from headway.types import Batch, Column, Features, Prediction


class Stars(Task):
    """Predicts the expected number of stars, so a doubtful model says 3.4 rather than 1 or 5."""

    num_stars: int = 5
    name: ClassVar = "stars"
    columns: ClassVar = (Column("text", "text", True, "The review."), Column("label", "label", True, "Its stars."))
    main_metric: ClassVar = "mean_error"
    lower_is_better: ClassVar = frozenset({"mean_error"})
    default_loss: ClassVar = "cross_entropy"
    model_kind: ClassVar = "sequence-classification"

    def encode(self, row, tokenizer, limits):
        """Return the tokens, and the class number where the row is labelled."""
        inputs, tokens_lost = encode_text(tokenizer, row["text"], None, **limits.arguments)
        targets = {"stars": self.stars(row) - 1} if "label" in row else {}
        return [Features(inputs, targets, {"tokens_lost": tokens_lost})]

    def collate(self, features, tokenizer):
        """Pad the tokens of a batch."""
        stars = [one.targets["stars"] for one in features if one.targets]
        targets = {"stars": torch.tensor(stars)} if stars else {}
        return Batch(pad(features, tokenizer), targets, tuple(features))

    def build_model(self, backbone):
        """Return the backbone with one output for each number of stars."""
        return backbone.build(self.model_kind, num_labels=self.num_stars).model

    def loss(self, outputs, batch, criterion):
        """Compare logits (batch, stars) with the class numbers."""
        return criterion(outputs["logits"], batch.targets["stars"])

    def decode(self, outputs, batch, rows, tokenizer):
        """Return the mean of 1, 2, 3, ... weighted by their probabilities."""
        means = outputs["logits"].float().cpu().softmax(-1) @ torch.arange(1.0, 1 + self.num_stars)
        return [Prediction(mean) for mean in means.tolist()]

    def evaluate(self, predictions, rows):
        """Return by how many stars the model is wrong."""
        errors = (abs(one.value - self.stars(row)) for one, row in zip(predictions, rows, strict=True))
        return {"mean_error": sum(errors) / len(rows)}

    def stars(self, row):
        """Return the gold stars of a row as a whole number."""
        if str(row["label"]) in map(str, range(1, self.num_stars + 1)):
            return int(row["label"])
        raise DataError(f"column 'label' holds {row['label']!r}, expected 1 to {self.num_stars} stars.")
