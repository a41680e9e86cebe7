"""Question answering, the words of a text that answer a question: data, recipe, train, score, predict, logs."""

import csv
from pathlib import Path

from headway import Predictor, Recipe, Table
from headway.evaluate import evaluate
from headway.train import train

run = Path("runs/example-question-answering")

# Recipe: one that ships with headway, with a change; Recipe.load("mine.yaml") reads your own.
recipe = Recipe.load("answers", {"training.num_train_epochs": 3})

# Data: a question, the text it is about, and the answers with their places.
table = Table.read(recipe.data.train, options=recipe.data, columns=recipe.task.columns, need_gold=True)
print(len(table), "questions, the first of them:", table[0])

# Train: the sentence nearest to the question is scored first, then the model learns, and its best weights are kept.
metrics = train(recipe, output_dir=run, overwrite=True)
for name, scores in {**metrics["baselines"], "this model": metrics["metrics"]}.items():
    print(name, round(scores["validation"]["f1"]["value"], 4))

# Score again, on any labelled file: every metric with its interval.
print("all rows:", evaluate(run, recipe.data.train)["metrics"]["data"]["f1"])

# Predict: the answer, how sure the model is, and where the answer stands.
predictor = Predictor.load(run)
context = "The old mill burned down in 1893. A farmer called Edda Lorne bought the ruin and planted apple trees."
prediction = predictor.predict({"question": "Who bought the ruin?", "context": context})
print(prediction.value, prediction.score, prediction.detail["start"], prediction.detail["end"])

# The logs: loss and learning rate by step. `tensorboard --logdir runs` shows them as curves.
with (run / "history.csv").open(encoding="utf-8") as file:
    print(list(csv.DictReader(file))[-1])
