"""Token classification: names of persons, places and organisations, from the rows to the logs, in a minute."""

import csv
from pathlib import Path

from headway import Predictor, Recipe
from headway.data.table import Table
from headway.evaluate import evaluate
from headway.train import train

# Data and recipe: 174 sentences in CoNLL columns, which ship with headway.
recipe = Recipe.load("entities")
table = Table.read(recipe.data.train, options=recipe.data, columns=recipe.task.columns, need_gold=True)
print(len(table), "rows, the first of them:", table[0])

# Train: no entity at all, and the commonest tag of each word, are scored first.
run = Path("runs/example-token-classification")
metrics = train(recipe, output_dir=run, overwrite=True)
for name, scores in {**metrics["baselines"], "this model": metrics["metrics"]}.items():
    print(name, round(scores["validation"]["f1"]["value"], 4))

# Score again, on any labelled file: every metric with its interval.
print("all rows:", evaluate(run, recipe.data.train)["metrics"]["data"]["f1"])

# Predict: raw text, with spans that count its characters.
text = "Hanna Vik left Northwind Ferries and moved to Trieste."
for span in Predictor.load(run).predict(text).value:
    print(span["label"], repr(text[span["start"] : span["end"]]), round(span["score"], 4))

# The logs: loss and learning rate by step. `tensorboard --logdir RUN/tensorboard` shows them as curves.
with (run / "history.csv").open(encoding="utf-8") as file:
    print(list(csv.DictReader(file))[-1])
