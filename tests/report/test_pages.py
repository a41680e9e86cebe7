from pathlib import Path

from headway.report import write_pages


def test_a_group_and_each_of_its_seeds_get_their_pages(seeds_run: Path) -> None:
    (seeds_run / "seed-0" / "model").mkdir(exist_ok=True)
    assert write_pages(seeds_run) == seeds_run / "report.html"
    for folder in (seeds_run, *seeds_run.glob("seed-*")):
        assert (folder / "report.html").exists()
        assert (folder / "README.md").exists()
    card = (seeds_run / "seed-0" / "README.md").read_text()
    assert (seeds_run / "seed-0" / "model" / "README.md").read_text() == card
