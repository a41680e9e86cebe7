"""Every block of the README and of docs/ is run or read as it stands; pages that take from the code are current."""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import cyclopts
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from headway.cli.app import VERBS, app
from headway.data.options import DataOptions
from headway.errors import RecipeError
from headway.importing import load_class
from headway.preparation import read_tables
from headway.recipe import TASKS, Recipe, answering_options, parse_overrides, reading_options
from headway.tasks.base import Limits, Task
from headway.tasks.summarization import Summarization
from headway.tokenising import encode_table
from headway.train import train
from headway.yaml_text import parse_yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
BLOCK = re.compile(r"^```(?P<kind>\S*)(?P<rest>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
# Data sets that only a hub has: the recipe is read, the rows are not.
REMOTE = ("hub:stanfordnlp/imdb[train]",)
# What a shell block may call beside `headway` and `make`.
HARMLESS = ("source", "printf")


def blocks(kind: str) -> list[object]:
    return [
        pytest.param(match["text"], id=f"{page.relative_to(ROOT)}:{text[: match.start()].count(chr(10)) + 1}")
        for page in PAGES
        for text in [page.read_text(encoding="utf-8")]
        for match in BLOCK.finditer(text)
        if match["kind"] == kind
    ]


# --- the files that recipes on these pages name -----------------------------------------------------------------------

LABELS = ("negative", "mixed", "positive")


def rows(num_labels: int = 2) -> Iterator[tuple[int, str]]:
    for number in range(40):
        yield number % num_labels, f"the book number {number} was a good story"


def lines(*parts: str) -> str:
    return "\n".join(parts) + "\n"


def text_files() -> dict[str, str]:
    named = [(LABELS[label], text) for label, text in rows(3)]
    pairs = [(label, text, f"{text} too") for label, text in rows()]
    related = [
        f'{number}\t"the <e1>book</e1> and the <e2>story</e2> {number}"\n{["Other", "Part(e1,e2)"][label]}\n'
        for number, (label, _) in enumerate(rows())
    ]
    return {
        "reviews.csv": lines("review,stars", *(f"{text},{label}" for label, text in named)),
        "rated.csv": lines("text,label", *(f"{text},{label + 1}" for label, text in rows(5))),
        "export.csv": lines(*(f'"{text}; caf\u00e9";{label}' for label, text in named)),
        "train.tsv": lines("sentence\tlabel", *(f'{text} 5"\t{label}' for label, text in rows())),
        "reviews.jsonl": lines(*(json.dumps({"body": text, "verdict": label}) for label, text in named)),
        "intents.json": json.dumps({split: [[text, label] for label, text in named] for split in ("train", "val")}),
        "chapters.txt": lines(*(f"{text}. It was read in {number} days." for number, (_, text) in enumerate(rows()))),
        "texts.txt": lines(*(text for _, text in named)),
        "labels.txt": lines(*(label for label, _ in named)),
        "trees.txt": lines(*(f"({label} (2 It) (4 works{number}))" for number, (label, _) in enumerate(rows()))),
        "questions.csv": lines("question1,question2,same", *(f"{a},{b},{['no', 'yes'][x]}" for x, a, b in pairs)),
        "similarity.tsv": lines("sentence1\tsentence2\tscore", *(f"{a}\t{b}\t{x}.5" for x, a, b in pairs)),
        "emotions.tsv": lines(*(f"{text}\t{'joy' if label else 'joy,anger'}" for label, text in rows())),
        "scenes.csv": lines(
            "sent1,sent2,ending0,ending1,ending2,label",
            *(f"{text},we,liked it,left,{label},{label}" for label, text in rows()),
        ),
        "TRAIN_FILE.TXT": lines(*related),
        "TEST_FILE_FULL.TXT": lines(*related),
        "news.conll": lines(*(f"Rita B-person\nsang O\n{number} O\n" for number in range(20))),
        "posts.conll": lines(*(f"Rita\tB-person,B-work\nsang\tO\n\t\n{number}\tO" for number in range(20))),
        "eng.train": lines("-DOCSTART- -X- -X- O", "", *(f"Rita NNP I-NP I-PER\n{n} CD I-NP O\n" for n in range(20))),
        "seq.in": lines(*(f"play  {text} " for _, text in rows())),
        "seq.out": lines(*(" ".join(["O"] * len(text.split()) + ["B-track"]) for _, text in rows())),
        "manual.json": json.dumps(
            {"data": [{"question": "how", "context": text, "answers": ["good"]} for _, text in rows()]}
        ),
        "articles.jsonl": lines(
            *(json.dumps({"document": f"{text}. It rained.", "summary": "A good book."}) for _, text in rows())
        ),
        "phrases.csv": lines("en,de", *(f"{text},das Buch {number}" for number, (_, text) in enumerate(rows()))),
        "desk.jsonl": lines(*(json.dumps({"history": ["Hello.", text], "response": "Yes."}) for _, text in rows())),
        "dialogues.csv": lines("dialogue", *(f"Hello. __eou__ {text} __eou__ Yes. __eou__" for _, text in rows())),
        "asked.csv": lines("question,paragraph,answer", *(f"how was it,{text},good" for _, text in rows())),
        "coded.csv": lines("text,label", *(f"{text},{label}" for label, text in rows())),
        "names.txt": lines("negative", "positive"),
        "news.csv": lines("text,label", *(f"{text},{label + 1}" for label, text in rows())),
        "news_test.csv": lines(*(f"{label + 1},{text},and more" for label, text in rows())),
        "local_set/train.csv": lines("text,label", *(f"{text},{label}" for label, text in named)),
        **{f"movies/{LABELS[label]}/{number}.txt": text for number, (label, text) in enumerate(rows())},
    }


@pytest.fixture(scope="module")
def desk(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file, class and run that the pages name."""
    folder = tmp_path_factory.mktemp("desk")
    for name, content in text_files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="cp1252" if name == "export.csv" else "utf-8")
    for name in ("train.de.gz", "train.en.gz", "val.de.gz", "val.en.gz"):
        (folder / name).write_bytes(gzip.compress(lines(*(text for _, text in rows())).encode()))
    columns = {"review": [text for _, text in rows()], "stars": [LABELS[label] for label, _ in rows()]}
    pq.write_table(pa.table(columns), folder / "reviews.parquet")
    for path in (DOCS / "examples").glob("*.py"):
        shutil.copy(path, folder)
    recipe = {
        "task": "text-classification",
        "data": {"train": str(folder / "reviews.csv"), "columns": {"text": "review", "label": "stars"}},
        "model": {"model_name_or_path": str(tiny_bert)},
        "training": {"max_steps": 2, "per_device_train_batch_size": 4, "baselines": False},
    }
    (folder / "reviews.yaml").write_text(yaml.safe_dump(recipe))
    train(Recipe.load(folder / "reviews.yaml"), output_dir=folder / "runs" / "reviews")
    recipe |= {"task": "question-answering", "data": {"train": str(folder / "manual.json"), "format": "squad"}}
    train(Recipe.from_dict(recipe), output_dir=folder / "runs" / "answers")
    return folder


@pytest.fixture
def at_desk(desk: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(desk)
    monkeypatch.syspath_prepend(desk)
    return desk


# --- blocks -----------------------------------------------------------------------------------------------------------


def test_every_block_says_what_it_is() -> None:
    for page in PAGES:
        kinds = {match["kind"] for match in BLOCK.finditer(page.read_text(encoding="utf-8"))}
        assert kinds <= {"yaml", "python", "shell", "text"}, page


@pytest.mark.parametrize("text", blocks("yaml"))
def test_recipes_load_and_their_rows_fit_the_task(text: str, at_desk: Path, tiny_bert: Path) -> None:
    from transformers import AutoTokenizer

    recipe = Recipe.from_dict(parse_yaml(text, source="block"), source="block")
    assert Recipe.from_dict(parse_yaml(recipe.to_yaml(), source="block")) == recipe
    if recipe.data.train in REMOTE:
        return
    tables = {name: recipe.task.prepare(table, 0) for name, table in read_tables(recipe).items()}
    task = recipe.task.resolve(tables["train"])
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    for table in tables.values():
        for number, features in enumerate(encode_table(table, task, tokenizer, Limits())):
            assert task.refresh(features, tokenizer, np.random.default_rng(number)).targets


@pytest.mark.parametrize("text", blocks("python"))
def test_python_runs(text: str, at_desk: Path) -> None:
    # Without this file's own `from __future__` lines.
    exec(compile(text, "block", "exec", dont_inherit=True), {"__name__": "block"})


@pytest.mark.parametrize("text", blocks("shell"))
def test_commands_exist(text: str) -> None:
    for line in text.splitlines():
        check_line(line)


@pytest.mark.parametrize(
    "line",
    [
        "headway trian reviews",
        "headway train reviews --optimisation.learning_rate 1",
        "headway train reviews --optimization.learning_rate fast",
        "headway train nowhere",
        "headway predict runs/x --txt hello",
        "headway evaluate runs/x",
        "make tset",
        "rm -rf runs",
        "printf x | headway predict",
    ],
)
def test_a_wrong_command_would_be_found(line: str) -> None:
    with pytest.raises((AssertionError, RecipeError, cyclopts.CycloptsError)):
        check_line(line)


def check_line(line: str) -> None:
    command: list[str] = []
    for word in [*shlex.split(line, comments=True), "|"]:
        if word != "|":
            command.append(word)
            continue
        if command:
            check_command(command[0], command[1:])
        command = []


def check_command(program: str, arguments: list[str]) -> None:
    if program == "make":
        assert set(arguments) <= make_targets()
    elif program.startswith(".venv/bin/python"):
        assert (ROOT / arguments[0]).is_file()
    elif program == "headway":
        check_headway(arguments)
    else:
        assert program in HARMLESS, program


def check_headway(arguments: list[str]) -> None:
    assert arguments[0] in VERBS
    _, bound, *_ = app.parse_args(arguments, exit_on_error=False, print_error=False)
    given = bound.arguments
    overrides = parse_overrides([token for token in given.get("overrides", ()) if token != "-"])
    if "recipe" in given:
        name = given["recipe"]
        Recipe.load("reviews" if name.endswith(".yaml") else name, overrides)
        return
    answering = {name: overrides.pop(name) for name in list(overrides) if name.startswith("task.")}
    answering_options(Summarization(), answering)
    row = {name: overrides.pop(name) for name in list(overrides) if "." not in name}
    assert row.keys() <= column_names()
    reading_options(DataOptions(train="rows.csv"), overrides)
    if arguments[0] == "predict":
        assert bool(row or "text" in given) + ("data" in given) + ("-" in given.get("overrides", ())) == 1


def column_names() -> set[str]:
    """Return the columns of all tasks, which `headway predict` takes as options."""
    tasks = [load_class(name, known=TASKS, option="task.type", base=Task).model_validate({}) for name in TASKS]
    return {column.name for task in tasks for column in task.columns}


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


# --- pages ------------------------------------------------------------------------------------------------------------


def test_what_is_taken_from_the_code_is_current() -> None:
    spec = importlib.util.spec_from_file_location("generate_reference", DOCS / "generate_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pages = module.generate()
    assert DOCS / "reference" / "recipe.md" in pages
    assert DOCS / "how-to" / "add-a-task.md" in pages
    for path, content in pages.items():
        assert path.read_text(encoding="utf-8") == content, "run: .venv/bin/python docs/generate_reference.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_files_and_tests_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / target).exists(), target
    for path, test in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text):
        assert f"def {test}" in (ROOT / path).read_text(encoding="utf-8"), (path, test)
    for target in re.findall(r"`make ([a-z-]+)`", text):
        assert target in make_targets()


def test_every_page_is_in_the_navigation() -> None:
    named = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def test_the_walk_names_every_module_and_no_other() -> None:
    named = re.findall(r"`([a-z_/]+\.py)`", (DOCS / "walk.md").read_text(encoding="utf-8"))
    source = ROOT / "src" / "headway"
    assert set(named) == {
        str(path.relative_to(source)) for path in source.rglob("*.py") if not path.name.startswith("__")
    }
    assert len(named) == len(set(named)), "each file is read once"


def test_the_readme_begins_with_the_two_commands_and_names_all_exit_codes() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {"make demo", "make test"} <= set(re.findall(r"^make [a-z]+", text, re.MULTILINE))
    codes = {int(code) for code in re.findall(r"\| (\d+) \|", text)}
    assert codes == {*range(9), 75, 130}
