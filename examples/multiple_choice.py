"""Multiple choice: how a situation goes on, from the rows to the logs, in a minute on a processor."""

import csv
from pathlib import Path

from headway import Predictor, Recipe
from headway.data.table import Table
from headway.evaluate import evaluate
from headway.train import train

# Data and recipe: 108 situations with three or four continuations each, which ship with headway.
recipe = Recipe.load("choices")
table = Table.read(recipe.data.train, options=recipe.data, columns=recipe.task.columns, need_gold=True)
print(len(table), "rows, the first of them:", table[0])

# Train: the commonest position, the longest choice and shared words are scored first.
run = Path("runs/example-multiple-choice")
metrics = train(recipe, output_dir=run, overwrite=True)
for name, scores in {**metrics["baselines"], "this model": metrics["metrics"]}.items():
    print(name, round(scores["validation"]["accuracy"]["value"], 4))

# Score again, on any labelled file: every metric with its interval.
print("all rows:", evaluate(run, recipe.data.train)["metrics"]["data"]["mean_reciprocal_rank"])

# Predict: the choice, and the probability of each.
row = {"context": "The river froze overnight.", "question": "They", "choices": ["took out their skates.", "ate soup."]}
prediction = Predictor.load(run).predict(row)
print(prediction.value, prediction.detail["probabilities"])

# The logs: loss and learning rate by step. `tensorboard --logdir RUN/tensorboard` shows them as curves.
with (run / "history.csv").open(encoding="utf-8") as file:
    print(list(csv.DictReader(file))[-1])
