"""How numbers and names are put into words, the same on the page and in the model card."""

from __future__ import annotations

import json
import math
import re
import shlex
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from headway.report.reading import Score

_METRICS = {
    "mcc": "Matthews correlation",
    "matthews_correlation": "Matthews correlation",
    "roc_auc": "ROC-AUC",
    "mse": "mean squared error",
    "rmse": "root mean squared error",
    "mae": "mean absolute error",
    "r2": "R²",
    "ece": "calibration error",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum",
    "bleu": "BLEU",
    "chrf": "chrF",
}
_BASELINES = {
    "tuned": "Fine-tuned model",
    "untrained": "Same model, before training",
    "majority": "Most frequent answer",
    "mean": "Mean of the training values",
    "tfidf_logistic_regression": "TF-IDF + logistic regression",
    "tfidf_ridge": "TF-IDF + ridge regression",
    "tfidf_ridge_regression": "TF-IDF + ridge regression",
    "lead_3": "First three sentences",
    "random_sentence": "One sentence at random",
    "copy_source": "The source as it is",
    "commonest_reply": "Most frequent reply",
    "nearest_history": "Reply to the most similar talk",
}
_TASKS = {
    "text-classification": "Text classification",
}
_WORDS = {"f1": "F1", "auc": "AUC", "roc": "ROC", "tfidf": "TF-IDF", "mlm": "MLM"}

# What UTF-8 or HTML cannot hold. Characters that turn the reading direction stay: the page isolates them.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def clean(value: Any) -> str:
    """Return the text with lone surrogates and control characters as visible signs, so that it can be written."""
    return _CONTROL.sub(_visible, value if isinstance(value, str) else str(value))


def number(value: Any, places: int = 3) -> str:
    """Return a number for a table: fixed places when small, thousands separated when large."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return "–" if value is None else str(value)
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) >= 1000:
        text = f"{value:,.0f}"
    elif 0 < abs(value) < 0.5 * 10**-places:
        text = f"{value:.1e}"
    else:
        text = f"{value:.{places if abs(value) < 100 else 1}f}"
    return text.replace("-", "−", 1) if value < 0 else text


def count(value: Any) -> str:
    """Return a whole number with thousands separated."""
    return f"{value:,.0f}" if isinstance(value, int | float) and math.isfinite(value) else "–"


def percent(value: float | None, places: int = 1) -> str:
    """Return a share of 1 in percent; a share above 0 never reads as 0."""
    if value is None or not math.isfinite(value):
        return "–"
    least = 10**-places
    if 0 < value * 100 < least / 2:
        return f"< {least:.{places}f} %"
    return f"{value * 100:.{places}f} %"


def probability(value: float | None) -> str:
    """Return a probability with three places; one that is not 0 never reads as 0, one that is not 1 never as 1."""
    if value is None or not math.isfinite(value):
        return "–"
    if 0 < value < 0.0005:
        return "< 0.001"
    return "> 0.999" if 0.9995 <= value < 1 else f"{value:.3f}"


def interval(score: Score | None) -> str:
    """Return ``0.861 to 0.899``, or nothing where no interval is known."""
    if score is None or score.low is None or score.high is None:
        return ""
    return f"{number(score.low)} to {number(score.high)}"


def duration(seconds: float | None) -> str:
    """Return a time in the two units a person would say."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def date(text: str | None) -> str:
    """Return an ISO time as ``5 March 2026, 14:02``; anything else as it is."""
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{moment.day} {moment:%B %Y, %H:%M}"


def metric_name(name: str) -> str:
    """Return a metric's key as words."""
    return _METRICS.get(name, _spell(name))


def baseline_name(name: str) -> str:
    """Return what a baseline is, in words."""
    return _BASELINES.get(name, capital(_spell(name)))


def task_name(name: Any) -> str:
    """Return the task's name as a heading would have it."""
    text = str(name or "")
    return _TASKS.get(text, capital(text.rpartition(".")[2].replace("-", " ")))


def capital(text: str) -> str:
    """Return the text with its first letter in upper case and the rest as it is."""
    return text[:1].upper() + text[1:]


def predict_command(place: str, columns: Mapping[str, Any], *, has_own_code: bool) -> str:
    """Return the command line that asks the run at this place for one row with these columns."""
    words = []
    for name, value in columns.items():
        if name == "tokens":
            name, value = "text", ""  # Words are told apart in raw text, too.
        words.append(f"--{name} '{_stand_in(value)}'")
    options = dict.fromkeys(words) or ["--text '...'"]
    return " ".join(["headway predict", shlex.quote(place), *options, *(["--allow_user_code"] if has_own_code else [])])


def _stand_in(value: Any) -> str:
    """Return dots in the shape of a value: a text (with its marks), a list of texts, or the ends of a span."""
    if isinstance(value, list):
        return json.dumps(value if all(isinstance(one, int) for one in value) else ["...", "..."])
    return "...".join(["", *re.findall(r"</?e[12]>", str(value)), ""])


def file_name(path: Any) -> str:
    """Return the last part of a path, which names a file well enough and tells nobody's home directory."""
    text = str(path or "")
    return re.split(r"[/\\]", text.rstrip("/\\"))[-1] or text


def origin(text: Any) -> str:
    """Return where weights came from; of a folder its name only, as in `file_name`."""
    found = str(text or "")
    return f"the folder {file_name(found)}" if found.startswith("the folder ") else found


def label_name(label: Any) -> str:
    """Return a label as it can be seen: one of blanks or zero-width characters only stands as its code points."""
    text = str(label)
    if any(unicodedata.category(letter)[0] not in "ZCM" for letter in text):
        return text
    return " ".join(f"U+{ord(letter):04X}" for letter in text) or "(empty)"


def cut(text: str, limit: int) -> tuple[str, int]:
    """Return the start of a long text and how many characters were left off; never splits a combined character."""
    if len(text) <= limit + limit // 10:
        return text, 0
    end = limit
    while end > limit // 2 and unicodedata.combining(text[end]):
        end -= 1
    return text[:end], len(text) - end


def _spell(name: str) -> str:
    return " ".join(_WORDS.get(word, word) for word in name.split("_"))


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    return chr(0x2400 + code) if code < 0x20 else "\ufffd"
