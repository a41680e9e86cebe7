"""The command line: parse, call one verb, print. Nothing heavy is imported before the verb that needs it runs."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence

import cyclopts

from headway import __version__
from headway.errors import HeadwayError, did_you_mean

EXIT_CODES = """\
Exit codes: 0 done · 2 recipe or usage · 3 data · 4 model · 5 run directory (disk, permission, damage) · 6 loss is
not a number · 7 out of memory · 8 run directory in use · 75 stopped by SIGTERM, 130 by Ctrl-C (both saved)."""

app = cyclopts.App(
    name="headway",
    help="Take a pretrained transformer and make it good at your text.",
    help_epilogue=EXIT_CODES,
    help_format="markdown",
    version=__version__,
    default_parameter=cyclopts.Parameter(name_transform=lambda name: name, negative=()),
)
for _name, _help in (
    ("train", "Train what a recipe describes."),
    ("tune", "Try values of options, and keep the best."),
    ("evaluate", "Score a run on a labelled file."),
    ("predict", "Predict one text, a file, or standard input."),
    ("extract", "Find the entities in texts, and how they are related."),
    ("chat", "Talk with a run of dialogue."),
    ("check", "Look for trouble in the data before any training."),
    ("compare", "Say by how much runs differ, paired over their seeds."),
    ("report", "Write the report of a run again."),
    ("init", "Write a recipe for your data."),
    ("doctor", "Say what this machine has and what is missing."),
    ("runs", "List the runs below a folder."),
):
    app.command(f"headway.cli.{_name}:{_name}", name=_name, help=_help)
recipes = cyclopts.App(name="recipe", help="Show what a recipe may hold, and what one holds.")
recipes.command("headway.cli.recipe:schema", name="schema", help="Print the JSON schema of all options, for editors.")
recipes.command("headway.cli.recipe:print_", name="print", help="Print a recipe with all its defaults.")
app.command(recipes)
searching = cyclopts.App(name="search", help="Find the texts nearest to a text, and texts that say the same.")
searching.command("headway.cli.search:index", name="index", help="Turn the texts of a file into an index.")
searching.command("headway.cli.search:query", name="query", help="Find the nearest texts of an index.")
searching.command("headway.cli.search:duplicates", name="duplicates", help="List pairs that say nearly the same.")
app.command(searching)
vocabularies = cyclopts.App(name="vocabulary", help="Make a vocabulary, and a new model for it, from your own texts.")
vocabularies.command("headway.cli.vocabulary:train", name="train", help="Learn a vocabulary and write a new model.")
app.command(vocabularies)
app.register_install_completion_command("--install_completion")

VERBS = (
    "train", "tune", "evaluate", "predict", "extract", "chat", "search", "check", "compare", "report", "init", "doctor",
    "runs", "recipe", "vocabulary",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; a user's mistake gives one message and never a traceback."""
    tokens = [_underscored(token) for token in arguments]
    # A process may be copied to tokenise, and threads of a tokenizer would not be copied with it.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        with _log_to_standard_error():
            return _run(tokens)
    except HeadwayError as error:
        print(f"headway: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("headway: stopped by Ctrl-C; nothing was lost that was saved before.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of the output left (`| head`): that is its right. Python would complain again at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:
        traceback.print_exc()
        print("headway: this is a bug in headway. Please report it with the lines above.", file=sys.stderr)
        return 1


def _run(tokens: Sequence[str]) -> int:
    if tokens and not tokens[0].startswith("-") and tokens[0] not in VERBS:
        hint = did_you_mean(tokens[0], VERBS)
        print(f"headway: there is no verb {tokens[0]!r}.{hint} Verbs: {', '.join(VERBS)}.", file=sys.stderr)
        return 2
    try:
        result = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except cyclopts.CycloptsError as error:
        print(f"headway: {error} `headway {tokens[0] if tokens else ''} --help` shows the usage.", file=sys.stderr)
        return 2
    return result if isinstance(result, int) else 0


def _underscored(token: str) -> str:
    """Accept `--output-dir` for `--output_dir`."""
    name, equals, value = token.partition("=")
    if re.fullmatch(r"--[a-z][a-z0-9._-]*", name):
        name = "--" + name[2:].replace("-", "_")
    return name + equals + value


@contextlib.contextmanager
def _log_to_standard_error() -> Iterator[None]:
    """Show the package's log while a command runs; whoever imports headway decides on it himself."""
    logger = logging.getLogger("headway")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    level, propagates = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates
