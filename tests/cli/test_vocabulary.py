from __future__ import annotations

import inspect
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from tests.data.test_vocabulary import corpus

from headway.cli.app import run
from headway.cli.vocabulary import train
from headway.models.new_model import ModelSize
from headway.vocabulary import build_vocabulary

SMALL = ["--vocab_size", "500", "--num_layers", "1", "--d_model", "16", "--num_heads", "2", "--ffn_dim", "32"]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "train.en").write_text("\n".join(corpus()[::2]), encoding="utf-8")
    (tmp_path / "train.de").write_text("\n".join(corpus()[1::2]), encoding="utf-8")
    return [str(tmp_path / "train.en"), str(tmp_path / "train.de")]


def test_for_a_person(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(tmp_path / "model")
    assert run(["vocabulary", "train", *files, "--output", output, *SMALL, "--max-length", "8"]) == 0
    said = capsys.readouterr()
    assert "400 texts" in said.out
    assert f"{output}: a vocabulary of 500, an untrained model" in said.out
    assert "longer than the model's 8 tokens" in said.out
    assert f"model: {{model_name_or_path: {output}}}" in said.out
    assert said.err == ""
    assert run(["vocabulary", "train", *files, "--output", output, *SMALL]) == 8
    assert "not empty" in capsys.readouterr().err
    assert run(["vocabulary", "train", *files, "--output", output, *SMALL, "--overwrite"]) == 0


def test_as_json_with_options_between_the_files(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("de,en\nein Hund,a dog\n")
    more = ["--data.encoding=utf-8", files[1], "--data.delimiter", ",", str(table), "--columns", "de, en"]
    arguments = [files[0], *more, "--output", str(tmp_path / "model"), *SMALL, "--lowercase", "--seed", "3", "--json"]
    assert run(["vocabulary", "train", *arguments]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["folder"] == str(tmp_path / "model")
    assert [one["name"] for one in made["files"]] == [*files, str(table)]
    assert (made["texts"], made["vocab_size"], made["lowercase"], made["seed"]) == (402, 500, True, 3)
    assert made["model"] == asdict(ModelSize(num_layers=1, d_model=16, num_heads=2, ffn_dim=32))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--vocab_size", "9000"], 3, "asks for 9,000"),
        (["--vocab_size", "9"], 2, "no room for words"),
        (["--num_heads", "5"], 2, "--d_model is 256 and --num_heads 5"),
        (["--dropout", "1"], 2, "Must be < 1"),
        (["--character_coverage", "0"], 2, "Must be > 0"),
        (["--columns", "de"], 2, "--columns names columns of a table"),
        (["--data.encodin", "utf-8"], 2, "encoding"),
        (["nowhere.de"], 3, "There is no file nowhere.de"),
    ],
)
def test_mistakes(
    arguments: list[str], code: int, message: str, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["vocabulary", "train", *files, *arguments, "--output", str(tmp_path / "model")]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_the_command_has_the_defaults_of_the_function() -> None:
    of_command = {name: one.default for name, one in inspect.signature(train).parameters.items()}
    of_function = {name: one.default for name, one in inspect.signature(build_vocabulary).parameters.items()}
    shared = ("vocab_size", "character_coverage", "lowercase", "seed", "overwrite")
    assert {name: of_command[name] for name in shared} == {name: of_function[name] for name in shared}
    size = asdict(ModelSize())
    assert {name: of_command[name] for name in size} == size


def test_the_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from headway.cli.app import run; run(['vocabulary', 'train', '--help']); "
        "heavy = {'torch', 'transformers', 'pyarrow', 'numpy', 'tokenizers'} & set(sys.modules); sys.exit(len(heavy))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
