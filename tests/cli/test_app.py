"""The command line as a whole: verbs, help, completion, and that a user's mistake never gives a traceback."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from headway.cli import app as module
from headway.cli.app import VERBS, run


def test_every_verb_has_a_help(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in VERBS:
        assert run([verb, "--help"]) == 0
        assert verb in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from headway.cli.app import run; run(['train', '--help']); "
        "heavy = {'torch', 'lightning', 'transformers', 'pyarrow', 'sklearn'} & set(sys.modules); sys.exit(len(heavy))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_training_imports_nothing_that_only_scores_and_reports_need() -> None:
    code = (
        "import sys; import headway.train; late = {'sklearn', 'seqeval', 'pandas', 'datasets', 'tensorboard', 'skops', "
        "'syntok', 'sacrebleu', 'rouge_score', 'nltk'} & set(sys.modules); sys.exit(', '.join(late) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_hyphens_are_taken_for_underscores(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "nowhere", "--output-dir", "x"]) == 2
    assert "There is no recipe 'nowhere'" in capsys.readouterr().err


def test_a_bug_says_that_it_is_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(tokens: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "_run", broken)
    assert run(["doctor"]) == 1
    said = capsys.readouterr().err
    assert "ZeroDivisionError" in said
    assert "Please report it" in said


def test_the_log_of_the_package_is_left_as_it_was() -> None:
    logger = logging.getLogger("headway")
    before = (logger.level, logger.propagate, list(logger.handlers))
    run(["runs", "nowhere"])
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


def test_completion_names_the_verbs() -> None:
    script = module.app.generate_completion(prog_name="headway", shell="bash")  # noqa: S604 - the name of a shell
    assert all(verb in script for verb in VERBS)
