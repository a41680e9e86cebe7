"""What is asked of a model's folder before a library reads it: complete, plain, of sensible size, and without code.

Only JSON and the headers of safetensors files are read here, so a crafted or damaged folder is refused within
milliseconds and before any memory is taken.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headway.errors import ModelError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PLAIN_ATTENTION = ("eager", "sdpa", "flash_attention_2", "flex_attention")

_MAX_HEADER_BYTES = 100_000_000  # the bound of the safetensors format itself
_TOKENIZER_FILES = (
    "tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model",
)  # fmt: skip
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_READ_SUFFIXES = (".json", ".txt", ".model", ".safetensors", ".jinja", ".py")
# A configuration builds a Python object for each of these, whatever the weights hold.
_COUNT_KEY = re.compile(r"(layers?|groups|group_num|blocks)$")


@dataclass(frozen=True, slots=True)
class Weights:
    """What the headers of a folder's weight files say: the files, and the shape of each tensor."""

    files: tuple[Path, ...]
    shapes: dict[str, tuple[int, ...]]

    @property
    def elements(self) -> int:
        """Number of numbers in all tensors."""
        return sum(math.prod(shape) for shape in self.shapes.values())


def check_folder(folder: Path, *, trust_remote_code: bool = False) -> Weights:
    """Read a model folder's JSON and headers, and complain of what must not reach the loading library.

    Raises:
        ModelError: something is missing, damaged, unsafe or absurd; the message says what, and how to mend it.
    """
    for path in folder.iterdir():
        if path.is_symlink() and path.suffix in _READ_SUFFIXES:
            _check_inside(path, folder)
    config = read_json(folder / "config.json", what="the model's configuration")
    if not trust_remote_code:
        _check_code(folder, config)
    _check_settings(folder, config)
    weights = _read_weights(folder)
    for key, count in _counts(config):
        if count > len(weights.shapes):
            raise ModelError(
                f"{folder / 'config.json'}: {key} is {count}, but the weights hold only {len(weights.shapes)} tensors. "
                "The configuration does not belong to these weights."
            )
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(
            f"{folder} has no tokenizer (expected tokenizer.json, or the vocabulary file of the model's family). "
            "Copy the tokenizer's files from the model that it was made from."
        )
    return weights


def read_json(path: Path, *, what: str) -> dict[str, Any]:
    """Return the JSON object in ``path``.

    Raises:
        ModelError: the file is missing, is not UTF-8 JSON, or holds something other than an object.
    """
    if not path.is_file():
        raise ModelError(f"{path.parent} has no {path.name} ({what}), so it is not a complete model folder.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{path} is not valid JSON: {error}. The file is damaged; copy or download it again."
        ) from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds a JSON {type(value).__name__}; expected an object.")
    return value


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a safetensors file from its header, and check the file's length against it.

    Raises:
        ModelError: the file is a Git-LFS pointer, is cut short, or is no safetensors file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        if head.startswith(b"version "):
            raise ModelError(f"{path} is a Git-LFS pointer, not the weights. Run 'git lfs pull' in its folder.")
        length = int.from_bytes(head, "little")
        if len(head) < 8 or length > _MAX_HEADER_BYTES:
            raise ModelError(f"{path} is not a safetensors file ({size} bytes). Copy or download it again.")
        if length > size - 8:
            raise ModelError(_cut_short(path, expected=f"at least {8 + length}", found=size))
        header = file.read(length)
    try:
        entries = json.loads(header)
        entries.pop("__metadata__", None)
        shapes = {str(name): tuple(int(n) for n in entry["shape"]) for name, entry in entries.items()}
        end = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ModelError(f"{path} has a damaged safetensors header. Copy or download it again.") from error
    if 8 + length + end != size:
        raise ModelError(_cut_short(path, expected=str(8 + length + end), found=size))
    return shapes


def _cut_short(path: Path, *, expected: str, found: int) -> str:
    return (
        f"{path} does not have the length that its header states: expected {expected} bytes, found {found}. "
        "The file was cut short or damaged; copy or download it again."
    )


def _check_code(folder: Path, config: dict[str, Any]) -> None:
    tokenizer = folder / "tokenizer_config.json"
    files = {"config.json": config}
    if tokenizer.is_file():
        files[tokenizer.name] = read_json(tokenizer, what="the tokenizer's configuration")
    for name, content in files.items():
        if any(key == "auto_map" and value for key, value in _walk(content)):
            raise ModelError(
                f"{folder / name} names Python code of its own (auto_map), which would run on this machine. headway "
                "runs no code from a model folder unless you set model.trust_remote_code: true; read the code first."
            )
        for file in content.get("fast_tokenizer_files") or ():
            if Path(str(file)).name != file:
                raise ModelError(f"{folder / name}: fast_tokenizer_files names {file!r}, which is not in this folder.")


def _check_settings(folder: Path, config: dict[str, Any]) -> None:
    path = folder / "config.json"
    for key, value in _walk(config):
        if "attn_implementation" in key:
            for name in value.values() if isinstance(value, dict) else [value]:
                if name is not None and name not in PLAIN_ATTENTION:
                    raise ModelError(
                        f"{path}: {key} is {name!r}, which could fetch and run code. Only {', '.join(PLAIN_ATTENTION)} "
                        "are accepted; delete the key."
                    )
        if key == "transformers_weights":
            raise ModelError(f"{path}: {key} names another weight file ({value!r}); only {WEIGHTS} is read.")
        if key in {"num_labels", "_num_labels"} and isinstance(value, int) and value > 1_000_000:
            raise ModelError(f"{path}: {key} is {value}, which no classifier has. The file is damaged.")
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"{folder} holds a PEFT adapter. Merge it into its base model (merge_and_unload) and save that."
        )
    if (folder / ".metadata").exists():
        raise ModelError(f"{folder} holds a distributed checkpoint, which is read with pickle. Save it as {WEIGHTS}.")


def _read_weights(folder: Path) -> Weights:
    single, index = folder / WEIGHTS, folder / INDEX
    if single.exists():
        _check_inside(single, folder)
        return Weights((single,), read_shapes(single))
    if index.exists():
        _check_inside(index, folder)
        return _read_shards(folder, index)
    for name in _PICKLES:
        if (folder / name).exists():
            raise ModelError(
                f"{folder} has its weights as {name} only, a pickle, which can run code when it is opened; headway "
                "reads safetensors. In an environment you can lose, load the model with transformers and write it "
                "again with save_pretrained, or ask for the safetensors version where you got it."
            )
    raise ModelError(f"{folder} has no weights: expected {WEIGHTS}, or {INDEX} with its parts.")


def _read_shards(folder: Path, index: Path) -> Weights:
    weight_map = read_json(index, what="the list of weight files").get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{index} has no 'weight_map'. The file is damaged; copy or download it again.")
    shapes: dict[str, tuple[int, ...]] = {}
    files = []
    for name in sorted({str(value) for value in weight_map.values()}):
        path = folder / name
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelError(f"{index}: weight_map names {name!r}; expected the name of a safetensors file beside it.")
        if not path.exists():
            raise ModelError(f"{folder} lacks {name}, which {index.name} lists. Copy or download it again.")
        _check_inside(path, folder)
        files.append(path)
        shapes |= read_shapes(path)
    if absent := sorted(weight_map.keys() - shapes.keys()):
        raise ModelError(f"{index} lists the tensor {absent[0]!r}, which {weight_map[absent[0]]} does not hold.")
    return Weights(tuple(files), shapes)


def _check_inside(path: Path, folder: Path) -> None:
    """Refuse a link that leads out of the folder; the hub's own cache links from snapshots/<commit> to blobs."""
    root, target = folder.resolve(), path.resolve()
    roots = [root, root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [root]
    if not any(target.is_relative_to(one) for one in roots):
        raise ModelError(f"{path} is a link to {target}, outside the model's folder. Put the file itself there.")
    if not target.is_file():
        raise ModelError(f"{path} is not a plain file.")


def _walk(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each key and value, those of configurations inside the configuration too."""
    waiting = [content]
    while waiting:
        for key, value in waiting.pop().items():
            yield key, value
            if isinstance(value, dict):
                waiting.append(value)


def _counts(config: dict[str, Any]) -> Iterator[tuple[str, int]]:
    for key, value in _walk(config):
        if isinstance(value, int) and not isinstance(value, bool) and _COUNT_KEY.search(key):
            yield key, value
