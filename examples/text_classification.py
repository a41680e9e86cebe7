"""Text classification, the sentiment of short reviews: data, recipe, train, score, predict, open the logs."""

import csv
from pathlib import Path

from headway import Predictor, Recipe, Table
from headway.evaluate import evaluate
from headway.train import train

run = Path("runs/example-text-classification")

# Recipe: one that ships with headway, with a change or two; Recipe.load("mine.yaml") reads your own.
recipe = Recipe.load("reviews", {"training.num_train_epochs": 2})

# Data: a table with a column for the text and one for the label; here it comes with headway, too.
table = Table.read(recipe.data.train, options=recipe.data, columns=recipe.task.columns, need_gold=True)
print(len(table), "rows, the first of them:", table[0])

# Train: simple methods are scored first, then the model learns, and its best weights are kept.
metrics = train(recipe, output_dir=run, overwrite=True)
for name, scores in {**metrics["baselines"], "this model": metrics["metrics"]}.items():
    print(name, round(scores["validation"]["accuracy"]["value"], 4))

# Score again, on any labelled file: every metric with its interval.
print("all rows:", evaluate(run, recipe.data.train)["metrics"]["data"]["accuracy"])

# Predict: a text, or many.
predictor = Predictor.load(run)
prediction = predictor.predict("A dull story, but the music saves the evening.")
print(prediction.value, prediction.score)
print([one.value for one in predictor.stream(["Never again!", "We laughed all the way home."])])

# The logs: loss and learning rate by step. `tensorboard --logdir runs` shows them as curves.
with (run / "history.csv").open(encoding="utf-8") as file:
    print(list(csv.DictReader(file))[-1])
