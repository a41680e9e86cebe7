"""Core training, from plain text to a backbone for another task: train, score, predict, start from it."""

from pathlib import Path

from headway import Predictor, Recipe
from headway.evaluate import evaluate
from headway.train import train

# Data and recipe: paragraphs of plain text, which ship with headway.
recipe = Recipe.load("core", {"training.num_train_epochs": 3})
print(recipe.data.train)

# Train, into a folder of its own.
run = Path("runs/example-pretraining")
metrics = train(recipe, output_dir=run, overwrite=True)
for name, scores in {"trained": metrics["metrics"], **metrics["baselines"]}.items():
    print(name, "perplexity:", round(scores["validation"]["perplexity"]["value"], 1))

# Score again, on any text.
print("all paragraphs:", evaluate(run, str(recipe.data.train))["metrics"]["data"]["perplexity"])

# Predict: what stands behind a mask, and how natural a text is.
predictor = Predictor.load(run)
print(predictor.predict("The queen lays her eggs in the [MASK].").detail["masks"][0])
print("perplexity of a text:", predictor.predict("The queen lays her eggs in the cells.").value)

# The core is a backbone for any other task.
reviews = Recipe.load("reviews", {"model.model_name_or_path": str(run), "training.max_steps": 20})
print(
    train(reviews, output_dir="runs/example-pretraining-reviews", overwrite=True)["metrics"]["validation"]["accuracy"]
)

# The logs: loss and learning rate by step. `tensorboard --logdir RUN/tensorboard` shows them as curves.
print((run / "history.csv").read_text().splitlines()[-1])
