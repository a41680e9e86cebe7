"""Every page of a run: its report and its model card, and those of its seeds."""

from __future__ import annotations

from pathlib import Path

from headway.files import write_text
from headway.report import wording
from headway.report.card import write_card
from headway.report.html import write_report
from headway.report.reading import read_run


def write_pages(run: Path) -> Path:
    """Write reports and cards of a run and of each of its seeds, and return the run's report.

    A model folder gets its card, too, because it travels alone.

    Raises:
        RunError: the folder is no finished run, or cannot be written.
    """
    for folder in (*sorted(run.glob("seed-*")), run):
        card = write_card(folder)
        if (folder / "model").is_dir():
            write_text(folder / "model" / "README.md", card.read_text(encoding="utf-8"))
        report = write_report(folder)
    return report


def predict_command(run: Path) -> str:
    """Return the command line that asks a finished run for one row.

    Raises:
        RunError: the folder is no finished run, or a file in it is damaged.
    """
    found = read_run(run)
    return wording.predict_command(run.as_posix(), found.columns, has_own_code=found.has_own_code)
