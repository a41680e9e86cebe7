"""`headway chat`: talk with a run of dialogue on the terminal."""

from __future__ import annotations

import sys

from headway.cli.train import Overrides

AGAIN, END = "/again", "/end"


def chat(run: str, /, *overrides: Overrides, bf16: bool = False, allow_user_code: bool = False) -> None:
    """Talk with a run of dialogue: each line of standard input is answered, and what was said before counts.

    `/again` begins a new talk; `/end`, Ctrl-D or the end of the input ends it. `--task.generation.do_sample true` and
    other options that say how answers are made may differ from the run's.

    Args:
        run: The run directory.
        overrides: Answering options that differ.
        bf16: Compute in bfloat16, which is faster.
        allow_user_code: Import the classes of your own that the run names.
    """
    from headway.cli.predict import reading_and_answering
    from headway.errors import RecipeError
    from headway.predictor import Predictor

    reading, answering = reading_and_answering(overrides)
    if reading:
        raise RecipeError(f"'--{next(iter(reading))}': a talk reads no file. Leave it out.")
    predictor = Predictor.load(run, allow_user_code=allow_user_code, bf16=bf16, answering=answering)
    if "history" not in {column.name for column in predictor.task.columns}:
        raise RecipeError(f"{run} is a run of {predictor.task.name}. A talk needs a run of dialogue.")
    is_asked = sys.stdin.isatty()
    if is_asked:
        print(f"{AGAIN} begins a new talk, {END} ends it.", file=sys.stderr)
    turns: list[str] = []
    while (line := _next_line(prompt="you: " if is_asked else "")) is not None:
        said = line.strip()
        if said == END:
            return
        if said == AGAIN:
            turns = []
        elif said:
            turns.append(said)
            reply = predictor.predict({"history": turns}).value
            print(f"run: {reply}" if is_asked else reply, flush=True)
            turns.append(reply)


def _next_line(*, prompt: str) -> str | None:
    try:
        return input(prompt) if prompt else input()
    except EOFError:
        return None
