from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from headway.errors import RunError
from headway.report.card import escape_markdown, write_card


def read_card(run: Path) -> tuple[dict[str, Any], str]:
    text = write_card(run).read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


@pytest.mark.parametrize("name", ["binary_run", "many_labels_run", "multi_label_run", "regression_run", "seeds_run"])
def test_card_is_complete_and_always_the_same(name: str, request: pytest.FixtureRequest) -> None:
    run: Path = request.getfixturevalue(name)
    front, body = read_card(run)
    assert front["library_name"] == "transformers"
    assert front["pipeline_tag"] == "text-classification"
    assert "license" not in front
    assert "base_model" not in front  # the embedded backbone has no name on the hub
    headings = re.findall(r"^## (.*)$", body, flags=re.MULTILINE)
    assert [one for one in headings if one != "Labels"] == [
        "Intended use and limits", "Results", "Training data", "Procedure", "Origin of the weights", "How to use it",
    ]  # fmt: skip
    assert "\n\n\n" not in body
    assert write_card(run).read_text() == write_card(run).read_text()


def test_hub_library_reads_the_results(binary_run: Path) -> None:
    from huggingface_hub import ModelCard

    data = ModelCard(write_card(binary_run).read_text()).data
    assert data.model_name == "reviews"
    accuracy = next(one for one in data.eval_results if one.metric_type == "accuracy" and one.dataset_split == "test")
    assert accuracy.metric_value == 0.881
    assert accuracy.dataset_name == "test.csv"


def test_body_says_what_was_measured(binary_run: Path) -> None:
    _, body = read_card(binary_run)
    for line in (
        "`minilm`, fine-tuned with headway for text classification on 3,610 rows.",
        "2 labels: `negative`, `positive`.",
        "| Accuracy | 0.881 | 0.862 to 0.900 |",
        "| TF-IDF + logistic regression | 0.802 | 0.779 to 0.825 |",
        "| `optimization.learning_rate` | `5e-05` |",
        "SHA-256 of the weights before training: `53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db`",
        "calibration error 0.041",
        "headway predict reviews --text",
    ):
        assert line in body, line
    assert "/home/ada" not in body
    assert str(binary_run.parent) not in body


def test_base_model_of_the_hub_is_named(binary_run: Path, edit_json: Callable[..., None]) -> None:
    name = "distilbert/distilbert-base-uncased"
    origin = f"the Hugging Face hub, {name}@main"
    edit_json(binary_run / "manifest.json", lambda manifest: manifest["model"].update(name=name, origin=origin))
    assert read_card(binary_run)[0]["base_model"] == name
    edit_json(binary_run / "manifest.json", lambda manifest: manifest["model"].update(origin="the folder /a/b"))
    assert "base_model" not in read_card(binary_run)[0]


def test_seeds_are_means_and_name_the_weights(seeds_run: Path) -> None:
    _, body = read_card(seeds_run)
    assert "| Accuracy | 0.791 | 0.580 to 0.889 | 0.156 |" in body
    assert "means over 3 seeds (0, 1, 2); these weights are those of seed 1" in body
    assert "of the seeds, 2 collapsed" in body
    assert "three-seeds/seed-1/model" in body


def test_regression_and_pairs_are_called_as_such(regression_run: Path) -> None:
    _, body = read_card(regression_run)
    assert "The model answers with a number." in body
    assert '{"text": "...", "text_pair": "..."}' in body
    assert 'function_to_apply="none"' in body
    assert "--text_pair" in body


def test_only_metrics_are_needed(binary_run: Path) -> None:
    for path in binary_run.rglob("*"):
        if path.is_file() and path.name != "metrics.json":
            path.unlink()
    front, body = read_card(binary_run)
    assert front["tags"] == ["headway"]
    assert "pipeline_tag" not in front
    assert "The run keeps no record of its data." in body


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="expected a run directory"):
        write_card(tmp_path)


@pytest.mark.parametrize(
    "payload",
    [
        "<script>alert(1)</script>",
        "\n\n<script>alert(1)</script>\n\n",
        "`<script>alert(1)</script>`",
        "``` <img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "![x](https://evil.example/x.png)",
        "| x | <b>y</b> |\n# Heading",
        "---\nlicense: mit\n---\n<b>",
        "*a* _b_ ~c~ \\<b>",
        "&lt;b&gt;",
        "\ud800\x00<b>",
    ],
)
def test_names_of_the_data_stay_text(binary_run: Path, edit_json: Callable[..., None], payload: str) -> None:
    def poison_manifest(manifest: dict[str, Any]) -> None:
        manifest["data"]["train"].update(source=payload, fingerprint=payload)
        manifest["data"][payload] = manifest["data"]["test"]
        manifest["model"].update(name=payload, origin=payload)
        manifest[payload] = payload

    def poison_metrics(metrics: dict[str, Any]) -> None:
        metrics["metrics"][payload] = {payload: {"value": 0.5}}
        metrics["baselines"][payload] = metrics["baselines"]["majority"]

    safe, (clean_front, _) = MarkdownIt("commonmark").enable("table"), read_card(binary_run)
    tags = set(re.findall(r"<(\w+)", safe.render(read_card(binary_run)[1])))
    for name, change in (("manifest", poison_manifest), ("metrics", poison_metrics)):
        path = binary_run / f"{name}.json"
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))
    recipe = yaml.safe_load((binary_run / "recipe.yaml").read_text())
    recipe["task"]["labels"] = [payload.replace("\ud800", ""), "b"]
    recipe["training"]["note"] = payload.replace("\ud800", "")
    (binary_run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    text = write_card(binary_run).read_text()
    front = yaml.safe_load(re.match(r"---\n(.*?\n)---\n\n# ", text, flags=re.DOTALL).group(1))  # type: ignore[union-attr]
    assert front.keys() == clean_front.keys()
    body = text[re.match(r"---\n.*?\n---\n(?=\n# )", text, flags=re.DOTALL).end() :]  # type: ignore[union-attr]
    rendered = safe.render(body)
    assert set(re.findall(r"<(\w+)", rendered)) <= tags
    assert "href" not in rendered
    assert len(re.findall("<h2>", rendered)) == 7


def test_escaped_text_reads_as_it_was() -> None:
    for text in ("a*b_c`d[e](f)#g|h~i\\j<k>&amp;$l$", "plain"):
        shown = MarkdownIt("commonmark").render(escape_markdown(text))
        assert html.unescape(shown) == f"<p>{text}</p>\n"
