"""Summarization: notices of a village in one line each, from the rows to the logs, in two minutes on a processor."""

import csv
from pathlib import Path

from headway import Predictor, Recipe
from headway.data.table import Table
from headway.evaluate import evaluate
from headway.train import train

# Data and recipe: 300 notices and what each says in one line, which ship with headway.
recipe = Recipe.load("summaries")
table = Table.read(recipe.data.train, options=recipe.data, columns=recipe.task.columns, need_gold=True)
print(len(table), "rows, the first of them:", table[0])

# Train: the first sentences and a sentence at random are scored first.
run = Path("runs/example-summarization")
metrics = train(recipe, output_dir=run, overwrite=True)
for name, scores in {**metrics["baselines"], "this model": metrics["metrics"]}.items():
    print(name, round(scores["validation"]["rougeL"]["value"], 4))

# Score again, on any file with the truth: every metric with its interval.
print("all rows:", evaluate(run, recipe.data.train)["metrics"]["data"]["rouge1"])

# Predict: what the model writes, and whether it came to an end.
row = {"source": "We are short of hands for the book sale. Come on Friday at nine. Tea will be kept warm."}
prediction = Predictor.load(run).predict(row)
print(prediction.value, prediction.detail)

# The logs: loss and learning rate by step. `tensorboard --logdir RUN/tensorboard` shows them as curves.
with (run / "history.csv").open(encoding="utf-8") as file:
    print(list(csv.DictReader(file))[-1])
