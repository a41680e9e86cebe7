"""What a bad input is, and those in recipes, model folders and run directories; `tests.bad_data` holds the tables."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

ROWS = [
    f"the {noun} was {word},{label}"
    for noun in ("book", "film", "food", "room", "song", "soup", "meal", "story")
    for word, label in (("great", "good"), ("awful", "bad"), ("lovely", "good"))
]
REVIEWS = "\n".join(["text,label", *ROWS]) + "\n"
RECIPE = """\
task: text-classification
data: {train: reviews.csv}
model: {model_name_or_path: backbone}
training: {num_train_epochs: 1, bf16: false}
"""
TRAIN = ("train", "recipe.yaml")

Arrange = Callable[[Path], object]


@dataclass(frozen=True, slots=True)
class BadInput:
    """A named mistake: the files it is made of, the command that meets it, and what the command must answer."""

    name: str
    says: tuple[str, ...]
    """What the answer must hold: the place, what was found, how to mend it."""
    exit_code: int
    command: tuple[str, ...] = TRAIN
    """Words after `headway`; the command is started where the files lie."""
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    """Beside recipe.yaml, reviews.csv and the model folder `backbone`, or in place of them."""
    arrange: Arrange | None = None
    """What no content of files can say: links, pipes, a damaged copy of a run."""
    needs_run: bool = False
    """Whether a finished run lies in `run`."""
    standard_input: bytes = b""

    def write(self, folder: Path, *, backbone: Path, run: Path | None) -> object:
        """Lay out everything in an empty folder, and return what must be held on to meanwhile."""
        (folder / "backbone").symlink_to(backbone)
        if run is not None:
            shutil.copytree(run, folder / "run")
        for name, content in {"recipe.yaml": RECIPE, "reviews.csv": REVIEWS, **self.files}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return None if self.arrange is None else self.arrange(folder)


# --- recipes ----------------------------------------------------------------------------------------------------------


def _recipe(name: str, text: str, *says: str) -> BadInput:
    return BadInput(name, ("recipe.yaml", *says), 2, files={"recipe.yaml": text})


def _option(name: str, option: str, *says: str) -> BadInput:
    """Return a recipe that is sound but for what stands in addition on the command line."""
    return BadInput(name, says, 2, command=(*TRAIN, *option.split()))


_BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)

RECIPES = (
    _recipe("yaml-bracket-never-closed", "task: text-classification\ndata: {train: [\n", "line 3, column 1", "YAML"),
    _recipe("yaml-indented-by-tabs", "task:\n\ttype: text-classification\n", "line 2, column 1", "YAML"),
    _recipe(
        "yaml-key-twice",
        RECIPE + "task: text-classification\n",
        "line 5, column 1", "'task' stands twice",
    ),
    _recipe("yaml-python-object", "task: !!python/object/apply:os.getcwd []\n", "line 1, column 7", "python/object"),
    _recipe("yaml-alias-bomb", _BOMB + RECIPE, "aliases", "1,000,000 values", "write out"),
    _recipe("yaml-alias-of-itself", RECIPE + "trainer: &t {again: *t}\n", "aliases", "holds itself"),
    _recipe("recipe-empty", "", "a recipe is a mapping"),
    _recipe("recipe-is-a-list", "- task: text-classification\n", "a recipe is a mapping", "task"),
    _recipe("recipe-is-a-sentence", "text classification of reviews\n", "a recipe is a mapping"),
    BadInput(
        "recipe-in-latin-1", ("recipe.yaml", "UTF-8"), 2,
        files={"recipe.yaml": (RECIPE + "# für alle\n").encode("latin-1")},
    ),
    BadInput(
        "recipe-missing", ("'recipes.yaml'", "Did you mean 'recipe.yaml'?", "headway init"), 2,
        command=("train", "recipes.yaml"),
    ),
    BadInput("recipe-is-a-folder", ("backbone is a folder",), 2, command=("train", "backbone")),
    BadInput("recipe-is-a-table", ("reviews.csv", "a recipe is a mapping"), 2, command=("train", "reviews.csv")),
    BadInput("recipe-not-named", ("headway train --help",), 2, command=("train",)),
    BadInput("verb-misspelt", ("'trian'", "Did you mean 'train'?"), 2, command=("trian", "recipe.yaml")),
    _recipe("task-missing", "data: {train: reviews.csv}\n", "task: is missing"),
    _recipe("data-missing", "task: text-classification\n", "data: is missing"),
    _option("task-unknown", "--task text-clasification", "task", "Did you mean 'text-classification'?"),
    _option(
        "task-not-importable", "--task my_task.Ranking", "recipe.yaml: task.type", "no module 'my_task'",
        "beside the recipe",
    ),
    _option("task-of-wrong-kind", "--task collections.OrderedDict", "task.type", "must be a subclass", "Task"),
    _option("label-twice-in-task", "--task.labels [good,bad,good]", "task.labels", "good"),
    _option("option-misspelt", "--optimization.learning_rat 1e-5", "'optimization.learning_rate'"),
    _option("option-lr", "--optimization.lr 1e-5", "optimization.lr", "optimization.learning_rate"),
    _option("option-evaluation-strategy", "--training.evaluation_strategy epoch", "training.eval_steps"),
    _option("section-misspelt", "--trainig.seeds [0]", "trainig", "Did you mean"),
    _option("option-of-wrong-type", "--training.num_train_epochs three", "num_train_epochs", "number", "'three'"),
    _option("option-negative", "--optimization.learning_rate -0.1", "learning_rate", "greater than 0", "-0.1"),
    _option("batch-size-zero", "--training.per_device_train_batch_size 0", "batch_size", "greater than", "0"),
    _option("seed-twice", "--training.seeds [1,1]", "seeds", "[1, 1]"),
    _option("share-above-one", "--data.validation 1.5", "data.validation", "less than 1", "1.5"),
    _option("source-is-a-number", "--data.train 5", "data.train", "a path", "5"),
    _option("format-unknown", "--data.format xlsx", "data.format", "'csv'", "'xlsx'"),
    _option("encoding-unknown", "--data.encoding utf-99", "data.encoding", "cp1252", "'utf-99'"),
    _option("delimiter-of-two-characters", "--data.delimiter ::", "data.delimiter", "one character", "'::'"),
    _option("override-without-value", "--training.seeds", "--training.seeds", "needs a value"),
    _option("override-without-value-before-another", "--data.format --training.seeds [1]", "--data.format", "needs a"),
    _option("override-without-dashes", "training.seeds=[1]", "'training.seeds=[1]'", "--section.option"),
    _option("column-of-no-task", "--data.columns.txt text", "data.columns", "'txt'", "Did you mean 'text'?"),
    _option("loss-unknown", "--optimization.loss focl", "optimization.loss", "Did you mean 'focal'?"),
    _option("loss-not-importable", "--optimization.loss my_loss.Mine", "optimization.loss", "my_loss"),
    _option(
        "loss-of-wrong-kind", "--optimization.loss collections.OrderedDict", "optimization.loss", "torch.nn", "Module",
    ),
    _option(
        "loss-option-unknown", "--optimization.loss.name focal --optimization.loss.gama 2",
        "optimization.loss", "'gama'", "Did you mean 'gamma'?",
    ),
    _option("head-unknown", "--model.head mpl", "model.head", "Did you mean 'mlp'?"),
    _option("head-class-missing", "--model.head torch.nn.Lineer", "model.head", "Did you mean 'Linear'?"),
    _option(
        "head-lacks-an-argument", "--model.freeze all --model.head sklearn.multiclass.OneVsRestClassifier",
        "model.head", "cannot be constructed", "'estimator'",
    ),
    _option("weight-of-no-label", "--optimization.class_weights.god 2", "class_weights", "Did you mean 'good'?"),
    _option("metric-unknown", "--training.metric_for_best_model acuracy", "metric_for_best_model", "'accuracy'"),
    _option("trainer-argument-unknown", "--trainer.acelerator cpu", "trainer", "acelerator"),
    _option("trainer-argument-ours", "--trainer.max_epochs 3", "trainer.max_epochs", "training.num_train_epochs"),
    BadInput(
        "regression-with-labels", ("task.labels", "regression"), 2,
        command=(*TRAIN, "--task.problem_type", "regression", "--task.labels", "[good, bad]"),
    ),
)  # fmt: skip


# --- model folders ----------------------------------------------------------------------------------------------------


def _damaged(damage: Callable[[Path], object]) -> Arrange:
    """Return what replaces the model folder by a copy and damages that."""

    def arrange(folder: Path) -> None:
        shutil.copytree((folder / "backbone").resolve(), folder / "copy")
        (folder / "backbone").unlink()
        (folder / "copy").rename(folder / "backbone")
        damage(folder / "backbone")

    return arrange


def _model(name: str, damage: Callable[[Path], object], *says: str) -> BadInput:
    return BadInput(name, ("backbone", *says), 4, arrange=_damaged(damage))


def _change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _longer_tokenizer(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    words = content["model"]["vocab"]
    words.update({f"word{n}": len(words) + n for n in range(50)})
    (folder / "tokenizer.json").write_text(json.dumps(content))


def _without_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink()


def _only_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _parts_elsewhere(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"embeddings.word_embeddings.weight": "../other/model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 438011\n"

MODELS = (
    BadInput("model-folder-missing", ("'./backbon'", "Did you mean 'backbone'?"), 4,
             command=(*TRAIN, "--model.model_name_or_path", "./backbon")),
    BadInput("model-is-a-file", ("'reviews.csv' is a file", "folder"), 4,
             command=(*TRAIN, "--model.model_name_or_path", "reviews.csv")),
    BadInput("model-name-offline", ("'bert-base-uncased'", "hub", "minilm"), 4,
             command=(*TRAIN, "--model.model_name_or_path", "bert-base-uncased")),
    BadInput("model-revision-of-a-folder", ("model.revision",), 2, command=(*TRAIN, "--model.revision", "v2")),
    _model("weights-missing", lambda folder: (folder / "model.safetensors").unlink(), "no weights: expected model."),
    _model("weights-as-pickle", _only_pickle, "pytorch_model.bin", "safetensors", "save_pretrained"),
    _model("weights-are-a-git-lfs-pointer",
           lambda folder: (folder / "model.safetensors").write_text(_POINTER), "git lfs pull"),
    _model("weights-cut-short", lambda folder: _cut(folder / "model.safetensors"), "cut short", "download it again"),
    _model("weights-are-noise", lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 4096),
           "not a safetensors file"),
    _model("weights-outside-the-folder", _parts_elsewhere, "weight_map", "'../other/model.safetensors'"),
    _model("config-missing", lambda folder: (folder / "config.json").unlink(), "no config.json"),
    _model("config-not-json", lambda folder: (folder / "config.json").write_text("{'model_type': 'bert'}"),
           "config.json", "not valid JSON"),
    _model("config-of-an-unknown-family", lambda folder: _change(folder / "config.json", model_type="berd"), "berd"),
    _model("config-of-another-model", lambda folder: _change(folder / "config.json", num_hidden_layers=1_000_000),
           "num_hidden_layers is 1000000", "does not belong"),
    _model("config-names-code", lambda folder: _change(folder / "config.json", auto_map={"AutoModel": "m.Model"}),
           "auto_map", "runs no code", "trust_remote_code"),
    _model("config-names-a-kernel",
           lambda folder: _change(folder / "config.json", _attn_implementation="owner/kernel"), "'owner/kernel'"),
    _model("tokenizer-missing", _without_tokenizer, "no tokenizer", "expected tokenizer.json"),
    _model("tokenizer-larger-than-model", _longer_tokenizer, "tokens", "embeddings for", "not belong together"),
    _model("tokenizer-damaged", lambda folder: _cut(folder / "tokenizer.json"), "tokenizer"),
)  # fmt: skip


# --- run directories --------------------------------------------------------------------------------------------------


def _run(name: str, command: str, exit_code: int, *says: str, **more: object) -> BadInput:
    return BadInput(name, says, exit_code, command=tuple(command.split()), needs_run=True, **more)  # type: ignore[arg-type]


def _in_run(change: Callable[[Path], object]) -> Arrange:
    return lambda folder: change(folder / "run")


def _unfinished(run: Path) -> None:
    (run / "metrics.json").unlink()


def _another_writer(run: Path) -> FileLock:
    (run / ".writer").write_text("process 4711 on another-host")
    lock = FileLock(run / ".lock")
    lock.acquire()
    return lock


RUNS = (
    BadInput("run-missing", ("no run directory 'runs/reviews'", "headway runs"), 5,
             command=("predict", "runs/reviews", "--text", "a lovely book")),
    BadInput("run-is-something-else", ("backbone", "is not a run directory", "recipe.yaml"), 5,
             command=("evaluate", "backbone", "--data", "reviews.csv")),
    BadInput("report-of-no-run", ("backbone", "run directory", "headway runs"), 5, command=("report", "backbone")),
    _run("run-unfinished", "predict run --text fine", 5, "run did not finish", "--resume",
         arrange=_in_run(_unfinished)),
    _run("report-of-unfinished-run", "report run", 5, "no metrics.json", "--resume", arrange=_in_run(_unfinished)),
    _run("run-exists", "train recipe.yaml --output_dir run", 8, "run holds a finished run", "--resume", "--overwrite"),
    _run("overwrite-by-broken-data", "train recipe.yaml --output_dir run --overwrite", 3, "reviews.csv is empty",
         files={"reviews.csv": ""}),
    _run("resume-with-another-recipe",
         "train run/recipe.yaml --output_dir run --resume --optimization.learning_rate 0.1", 2, "run cannot be resumed",
         "recipe.optimization.learning_rate:", "-> 0.1", "--overwrite"),
    _run("run-of-another-writer", "train recipe.yaml --output_dir run --overwrite", 8,
         "run is being written by process 4711 on another-host", "Wait for it", arrange=_in_run(_another_writer)),
    BadInput("output-holds-other-files", ("not empty and holds no run", "--output_dir"), 8,
             command=(*TRAIN, "--output_dir", "backbone")),
    BadInput("output-below-a-file", ("reviews.csv is a file", "--output_dir"), 5,
             command=(*TRAIN, "--output_dir", "reviews.csv/run")),
    _run("metrics-damaged", "report run", 5, "metrics.json", "damaged",
         arrange=_in_run(lambda run: _cut(run / "metrics.json"))),
    _run("model-of-run-cut-short", "predict run --text fine", 4, "model.safetensors", "cut short",
         arrange=_in_run(lambda run: _cut(run / "model" / "model.safetensors"))),
    _run("model-of-run-with-other-labels", "predict run --text fine", 4, "different labels", "config.json",
         arrange=_in_run(lambda run: _change(run / "model" / "config.json", id2label={"0": "good", "1": "bad"}))),
    _run("description-of-run-damaged", "predict run --text fine", 5, "headway.json is damaged",
         arrange=_in_run(lambda run: _cut(run / "model" / "headway.json"))),
    _run("prediction-exists", "predict run --data reviews.csv --output run/metrics.json", 8, "run/metrics.json exists",
         "another --output"),
    _run("prediction-into-no-folder", "predict run --data reviews.csv --output answers/new.jsonl", 5,
         "no folder answers", "answers/new.jsonl"),
    _run("prediction-of-nothing", "predict run", 2, "--text TEXT", "--data FILE"),
    _run("prediction-of-two-things", "predict run --text fine --data reviews.csv", 2, "exactly one"),
    _run("prediction-without-column", "predict run --data others.csv", 3, "others.csv", "'text'",
         "Did you mean 'Text'?", files={"others.csv": "Text,stars\nfine,5\n"}),
    _run("prediction-of-text-as-number", "predict run --data others.jsonl", 3, "others.jsonl, line 2", "42",
         files={"others.jsonl": '{"text": "fine"}\n{"text": 42}\n'}),
    _run("standard-input-in-latin-1", "predict run -", 3, "standard input, line 2", "byte 3",
         standard_input="fine\ncafé\n".encode("latin-1")),
    _run("standard-input-broken-json", "predict run -", 3, "standard input, line 1", "JSON",
         standard_input=b'{"text": "fine"\n'),
    _run("standard-input-half-a-character", "predict run -", 3, "standard input, line 2", "'text'", "half",
         standard_input=b'fine\n{"text": "\\ud83d"}\n'),
    _run("standard-input-without-text", "predict run -", 3, "standard input, line 1", "'text'", "'txt'",
         standard_input=b'{"txt": "fine"}\n'),
    _run("batch-size-of-prediction-zero", "predict run --text fine --batch_size 0", 2, "batch_size", "0"),
    _run("batch-size-of-prediction-a-word", "predict run --text fine --batch_size many", 2, "batch_size", "many"),
    _run("evaluation-without-labels", "evaluate run --data others.csv", 3, "others.csv", "'label'", "data.columns",
         files={"others.csv": "text,stars\nfine,5\n"}),
    _run("evaluation-with-unknown-label", "evaluate run --data others.csv", 3, "others.csv, line 3", "'god'",
         "Did you mean 'good'?", files={"others.csv": "text,label\nfine,good\nfine,god\n"}),
    _run("evaluation-option-misspelt", "evaluate run --data reviews.csv --data.formt csv", 2, "formt", "data.format"),
)  # fmt: skip
