"""Real long texts: film reviews of 700 words on average, of which a window sees a fifth."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from headway.predictor import Predictor
from headway.recipe import Recipe
from headway.train import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reviews(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty reviews of each label, in a folder for each."""
    folder = tmp_path_factory.mktemp("movies")
    with zipfile.ZipFile(shared_data / "movie_reviews" / "movie_reviews_1000.zip") as archive:
        for label in ("neg", "pos"):
            (folder / label).mkdir()
            names = sorted(name for name in archive.namelist() if f"/{label}/" in name and name.endswith(".txt"))
            for name in names[:40]:
                (folder / label / Path(name).name).write_bytes(archive.read(name))
    return folder


@pytest.mark.parametrize("how", ["head", "window"])
def test_it_learns_from_long_texts(how: str, reviews: Path, tmp_path: Path) -> None:
    options = {
        "data.train": str(reviews),
        "data.max_length": 128,
        "data.truncation": how,
        "data.doc_stride": 16,
        "data.validation": 0.3,
        "model.model_name_or_path": "minilm",
        # Only the upper layers learn, which takes half the time.
        "model.freeze": 4,
        "optimization.learning_rate": 3e-4,
        "training.num_train_epochs": 3,
        "training.eval_steps": 100,
        "training.baselines": False,
    }
    metrics = train(Recipe.load("movie_reviews", options), output_dir=tmp_path / "run")
    accuracy = metrics["metrics"]["validation"]["accuracy"]["value"]
    tokens = json.loads((tmp_path / "run" / "manifest.json").read_text())["tokens"]["train"]
    assert accuracy > 0.5  # as many reviews of the one label as of the other
    assert (tokens["tokens_lost"] == 0) == (how == "window")
    assert tokens.get("windows", 0) > (300 if how == "window" else -1)
    if how == "window":
        long = " ".join(path.read_text() for path in sorted((reviews / "neg").iterdir())[:20])
        assert len(long) > 60_000
        assert Predictor.load(tmp_path / "run").predict(long).value in ("neg", "pos")
