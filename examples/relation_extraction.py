"""Relation extraction: how two marked names are related, from the rows to the logs, in a minute on a processor."""

import csv
from pathlib import Path

from headway import Predictor, Recipe
from headway.data.table import Table
from headway.evaluate import evaluate
from headway.train import train

# Data and recipe: 182 sentences with two names between <e1> and <e2> marks, which ship with headway.
recipe = Recipe.load("relations")
table = Table.read(recipe.data.train, options=recipe.data, columns=recipe.task.columns, need_gold=True)
print(len(table), "rows, the first of them:", table[0])

# Train: the commonest relation and a linear model over the words between the names are scored first.
run = Path("runs/example-relation-extraction")
metrics = train(recipe, output_dir=run, overwrite=True)
for name, scores in {**metrics["baselines"], "this model": metrics["metrics"]}.items():
    print(name, round(scores["validation"]["f1_macro_official"]["value"], 4))

# Score again, on any labelled file: every metric with its interval.
print("all rows:", evaluate(run, recipe.data.train)["metrics"]["data"]["f1_micro"])

# Predict: marks in the text, or places beside it. With a run that finds names: headway.extract.
predictor = Predictor.load(run)
prediction = predictor.predict("<e1>Lena Ortiz</e1> started <e2>Blue Mill</e2> in a barn.")
print(prediction.value, prediction.score)
row = {"text": "Blue Mill sits in Tarnby.", "head": {"start": 0, "end": 9}, "tail": {"start": 18, "end": 24}}
print(predictor.predict(row).value)

# The logs: loss and learning rate by step. `tensorboard --logdir RUN/tensorboard` shows them as curves.
with (run / "history.csv").open(encoding="utf-8") as file:
    print(list(csv.DictReader(file))[-1])
