"""A metric of your own: what the mistakes cost, where some are dearer than others."""

from headway.metrics.own import Metric


class Cost(Metric):
    """Mean cost of a row: nothing if it is right, ``missed`` if it should have been an ``alarm``, else 1."""

    lower_is_better = True

    def __init__(self, *, alarm: str, missed: float = 5.0) -> None:
        self.alarm, self.missed = alarm, missed

    def __call__(self, predictions, rows):
        """Return the mean over the rows of a split."""
        costs = [self.cost(one.value, str(row["label"])) for one, row in zip(predictions, rows, strict=True)]
        return sum(costs) / len(costs)

    def cost(self, predicted, gold):
        """Return what one answer costs."""
        if predicted == gold:
            return 0.0
        return self.missed if gold == self.alarm else 1.0
