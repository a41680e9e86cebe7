"""Translation: the English of old contracts in plain English, from the rows to the logs, in a minute on a processor."""

import csv
from pathlib import Path

from headway import Predictor, Recipe
from headway.data.table import Table
from headway.evaluate import evaluate
from headway.train import train

# Data and recipe: 400 clauses in legal and in plain words, which ship with headway.
recipe = Recipe.load("plain-english")
table = Table.read(recipe.data.train, options=recipe.data, columns=recipe.task.columns, need_gold=True)
print(len(table), "rows, the first of them:", table[0])

# Train: the source as it is and the untrained model are scored first.
run = Path("runs/example-translation")
metrics = train(recipe, output_dir=run, overwrite=True)
for name, scores in {**metrics["baselines"], "this model": metrics["metrics"]}.items():
    print(name, {metric: round(scores["validation"][metric]["value"], 4) for metric in ("bleu", "copy_rate")})

# Score again, on any file with the truth: every metric with its interval.
print("all rows:", evaluate(run, recipe.data.train)["metrics"]["data"]["chrf"])

# Predict: what the model writes, and whether it came to an end.
row = {"source": "the lessee shall vacate the premises forthwith."}
prediction = Predictor.load(run).predict(row)
print(prediction.value, prediction.detail)

# The logs: loss and learning rate by step. `tensorboard --logdir RUN/tensorboard` shows them as curves.
with (run / "history.csv").open(encoding="utf-8") as file:
    print(list(csv.DictReader(file))[-1])
