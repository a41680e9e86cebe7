"""Dialogue: answers at a desk in a harbour town, from the rows to the logs, in a minute on a processor."""

import csv
from pathlib import Path

from headway import Predictor, Recipe
from headway.data.table import Table
from headway.evaluate import evaluate
from headway.train import train

# Data and recipe: 360 talks and the next answer, which ship with headway.
recipe = Recipe.load("talks")
table = Table.read(recipe.data.train, options=recipe.data, columns=recipe.task.columns, need_gold=True)
print(len(table), "rows, the first of them:", table[0])

# Train: the commonest reply and that to the most similar talk are scored first.
run = Path("runs/example-dialogue")
metrics = train(recipe, output_dir=run, overwrite=True)
for name, scores in {**metrics["baselines"], "this model": metrics["metrics"]}.items():
    print(name, round(scores["validation"]["chrf"]["value"], 4))

# Score again, on any file with the truth: every metric with its interval.
print("all rows:", evaluate(run, recipe.data.train)["metrics"]["data"]["rougeL"])

# Predict: what the model writes, and whether it came to an end.
row = {"history": ["good morning.", "good morning. how can i help?", "when does the ferry to kelby leave?"]}
prediction = Predictor.load(run).predict(row)
print(prediction.value, prediction.detail)

# The logs: loss and learning rate by step. `tensorboard --logdir RUN/tensorboard` shows them as curves.
with (run / "history.csv").open(encoding="utf-8") as file:
    print(list(csv.DictReader(file))[-1])
