"""headway: take a pretrained transformer and make it good at your text.

The nouns stand here, loaded when they are first used; each verb is a function in the module of its name
(``from headway.train import train``).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headway.data.table import Table
    from headway.predictor import Predictor
    from headway.recipe import Recipe

__version__ = "0.1.0"
__all__ = ["Predictor", "Recipe", "Table", "__version__"]

_PLACES = {"Predictor": "headway.predictor", "Recipe": "headway.recipe", "Table": "headway.data.table"}


def __getattr__(name: str) -> Any:
    """Import a public name where it is first used, so that `headway --help` answers at once."""
    if name not in _PLACES:
        raise AttributeError(f"module 'headway' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
