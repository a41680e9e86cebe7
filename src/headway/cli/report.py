"""`headway report`."""

from __future__ import annotations

from pathlib import Path


def report(run: str, /) -> None:
    """Write the report and the model card of a run again, from what its directory holds.

    Args:
        run: The run directory.
    """
    from headway.report import write_pages

    print(write_pages(Path(run)))
