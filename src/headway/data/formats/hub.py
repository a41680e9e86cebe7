"""Data sets of the Hugging Face hub, or a local folder in one of its layouts: ``hub:name/config[split]``."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from headway.data.formats.content import Complaints, Content, Wanted
from headway.data.formats.parquet import from_arrow
from headway.data.options import HUB_PREFIX, Source
from headway.errors import DataError, did_you_mean

_ADDRESS = re.compile(r"(?P<name>[^\[\]]+)(?:\[(?P<split>.+)\])?")


def read(source: Source, *, wanted: Wanted, complaints: Complaints) -> Content:
    """Return the wanted columns of one split; label ids become the label names that the data set declares.

    Raises:
        DataError: there is no such data set, configuration or split, or the hub cannot be reached.
    """
    address = source.path if isinstance(source.path, str) else ""
    match = _ADDRESS.fullmatch(address.removeprefix(HUB_PREFIX))
    if match is None:
        raise DataError(f"{source.path!r} is not an address such as hub:name/config[train] or hub:/folder[train].")
    with tempfile.TemporaryDirectory() as scratch:
        dataset = _with_inner_columns(
            _one_split(_load(match["name"], match["split"], scratch=scratch), address), wanted
        )
        chosen = wanted.choose(dataset.column_names, source=address)
        table = dataset.select_columns(chosen).with_format("arrow")[:]
        content = from_arrow(table)
    for name in chosen:
        if names := _class_names(dataset.features[name]):
            values = content.columns[name]
            content.columns[name] = [_named(value, names) for value in values]
    return content


def _load(name: str, split: str | None, *, scratch: str) -> Any:
    # Imported here: `datasets` takes a second, which no other format should pay.
    import datasets

    folder = Path(name)
    try:
        if folder.is_dir():
            if (folder / "state.json").exists() or (folder / "dataset_dict.json").exists():
                saved = datasets.load_from_disk(str(folder))
                return _choose_saved(saved, split, name)
            # A cache of its own: the library's would give back old rows for a file of the same size and time.
            return datasets.load_dataset(str(folder), split=split, cache_dir=scratch)
        return _load_remote(name, split)
    except DataError:
        raise
    except Exception as error:  # the library raises what its many back ends raise
        reason = " ".join(str(error).split())
        raise DataError(
            f"hub:{name}: the data set cannot be loaded ({type(error).__name__}: {reason:.300}). Check the name, the "
            "split and the network, or name a local folder: hub:/folder[train]."
        ) from error


def _load_remote(name: str, split: str | None) -> Any:
    import datasets

    parts = name.split("/")
    if len(parts) > 3 or name.startswith((".", "/", "~")):
        raise DataError(
            f"hub:{name}: there is no such folder, and a data set's name is name/config or owner/name/config."
        )
    if len(parts) == 3:
        return datasets.load_dataset("/".join(parts[:2]), parts[2], split=split)
    try:
        return datasets.load_dataset(name, split=split)
    except datasets.exceptions.DatasetNotFoundError:
        if len(parts) == 1:
            raise
        # `name/config` looks like `owner/name`.
        return datasets.load_dataset(parts[0], parts[1], split=split)


def _choose_saved(saved: Any, split: str | None, name: str) -> Any:
    import datasets

    if not isinstance(saved, datasets.DatasetDict) or split is None:
        return saved
    if split not in saved:
        raise DataError(
            f"hub:{name}: there is no split {split!r}.{did_you_mean(split, saved)} Found: {', '.join(saved)}."
        )
    return saved[split]


def _one_split(dataset: Any, address: str) -> Any:
    import datasets

    if not isinstance(dataset, datasets.DatasetDict):
        return dataset
    if len(dataset) > 1:
        raise DataError(
            f"{address}: name one of the splits {', '.join(dataset)}, as in {address}[{next(iter(dataset))}]."
        )
    return next(iter(dataset.values()))


def _with_inner_columns(dataset: Any, wanted: Wanted) -> Any:
    """Return the data set with the columns inside others (``translation.en``) beside them, where one is wanted."""
    import datasets

    if all("." not in name or name in dataset.column_names for name in wanted.names):
        return dataset
    flat = dataset.flatten()
    inner = [name for name in flat.column_names if name not in dataset.column_names]
    return datasets.concatenate_datasets([dataset, flat.select_columns(inner)], axis=1) if inner else dataset


def _class_names(feature: Any) -> list[str]:
    import datasets

    inner = feature.feature if isinstance(feature, datasets.Sequence | datasets.List) else feature
    return list(inner.names) if isinstance(inner, datasets.ClassLabel) else []


def _named(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [_named(part, names) for part in value]
    # -1 is how the hub marks a row whose label is kept back.
    return None if value is None or value < 0 else names[value]
