"""Sentence embeddings, from a table of pairs to a search: train, score, predict, find."""

from pathlib import Path

from headway import Predictor, Recipe
from headway.evaluate import evaluate
from headway.search import Embedder, build_index, read_texts
from headway.train import train

# Data and recipe: pairs of sentences with a similarity from 0 to 5, which ship with headway.
recipe = Recipe.load("similarity", {"training.num_train_epochs": 2})
print(recipe.data.train)

# Train, into a folder of its own.
run = Path("runs/example-sentence-embeddings")
metrics = train(recipe, output_dir=run, overwrite=True)
for split, values in metrics["metrics"].items():
    print(split, "Spearman:", round(values["spearman"]["value"], 4))

# Score again, on any labelled file.
result = evaluate(run, recipe.data.train)
print("all rows:", result["metrics"]["data"]["spearman"])

# Predict: a vector for a text, a cosine for a pair.
predictor = Predictor.load(run)
print(len(predictor.predict("The train was late again.").value), "numbers")
print(predictor.predict({"text": "The train was late.", "text_pair": "The train did not come on time."}).value)

# Search: an index of all first sentences, and those nearest to a text.
texts = read_texts(recipe.data.train, column="sentence1", reading={"data.quoting": "none"})
index = build_index(Embedder.load(str(run)), texts, run.parent / "index")
(vectors,) = index.embedder().embed(["Someone is cooking."])
for row, cosine in index.search(vectors, top=3)[0]:
    print(round(cosine, 4), index.text(row))

# The logs: loss and learning rate by step. `tensorboard --logdir RUN/tensorboard` shows them as curves.
print((run / "history.csv").read_text().splitlines()[-1])
