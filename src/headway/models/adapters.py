"""Adapters: a few new weights are trained beside a backbone that stays as it is, through peft.

Afterwards they are saved twice: as they are, for ``peft.PeftModel`` over the same backbone, and merged into the
weights, so that the model's folder is a plain one and prediction costs nothing more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from headway.errors import RecipeError, RunError, did_you_mean
from headway.importing import Choice

KNOWN = ("lora", "dora", "ia3")
"""LoRA (Hu et al. 2021, arXiv:2106.09685), DoRA (Liu et al. 2024, arXiv:2402.09353), (IA)3 (Liu et al. 2022,
arXiv:2205.05638)."""

_DECIDED = ("task_type", "peft_type", "inference_mode", "modules_to_save", "auto_mapping", "peft_version", "revision")
"""Options of peft's configurations that follow from the recipe."""

_IN_PEFT = "base_model.model."
"""What stands before each name in a file of peft."""


def add_adapter(model: Any, choice: Choice, *, name: str, new_modules: Sequence[str]) -> None:
    """Put the adapter into ``model``, a transformers model, in place; nothing else of it is trained from now on.

    Args:
        model: the pretrained model, under its own head or plain.
        choice: one of `KNOWN`, with options of peft's configuration (``r``, ``lora_alpha``, ``target_modules``, ...).
        name: of the backbone, as the recipe has it.
        new_modules: names of the modules with fresh weights (the head), which are trained, too, and saved with it.

    Raises:
        RecipeError: peft is not installed, or does not take an option, or knows no place for it in this family.
    """
    config = _configuration(choice, family=model.config.model_type, name=name)
    if config.target_modules == "all-linear":
        config.exclude_modules = [
            one for one, _ in model.named_modules() if any(f"{one}.".startswith(f"{new}.") for new in new_modules)
        ]
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

    try:
        PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type](model, {"default": config}, "default")
    except ValueError as error:
        raise RecipeError(f"model.adapter: {choice.name!r} does not fit this model: {error}") from error
    for module_name in new_modules:
        model.get_submodule(module_name).requires_grad_(True)
    # Said only now: peft would keep two copies of each of these modules.
    config.modules_to_save, config.exclude_modules = list(new_modules) or None, None
    model.peft_config = {"default": config}


def has_adapter(model: nn.Module) -> bool:
    """Return whether some part of the model carries an adapter that is not merged yet."""
    return any(hasattr(module, "peft_config") for module in model.modules())


def save_and_merge(model: nn.Module, folder: Path) -> None:
    """Write the adapter to ``folder`` as peft reads it, then merge it into the weights of ``model``, in place.

    Raises:
        RunError: the disk refuses.
    """
    (carrier,) = (module for module in model.modules() if hasattr(module, "peft_config"))
    _save(carrier, folder)
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(carrier.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            carrier.set_submodule(name, module.get_base_layer())
    del carrier.peft_config


def _save(carrier: Any, folder: Path) -> None:
    config = carrier.peft_config["default"]
    kept = {name.replace(".default", ""): one for name, one in carrier.state_dict().items() if ".default" in name}
    # Names without the layers that the adapter stands around, as the plain model has them.
    for module_name in config.modules_to_save or ():
        own = carrier.get_submodule(module_name).state_dict(prefix=f"{module_name}.")
        kept |= {name: one for name, one in own.items() if ".default" not in name and ".base_layer." not in name}
    content = {**config.to_dict(), "inference_mode": True}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(
            {f"{_IN_PEFT}{name}": one.detach().contiguous().clone() for name, one in kept.items()},
            folder / "adapter_model.safetensors",
            metadata={"format": "pt"},
        )
        (folder / "adapter_config.json").write_text(
            json.dumps(content, indent=2, sort_keys=True, default=_plain) + "\n", encoding="utf-8"
        )
    except (OSError, safetensors.SafetensorError) as error:
        raise RunError(f"Cannot write the adapter to {folder}: {error}. Free some space and start again.") from error


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else str(value)


def _configuration(choice: Choice, *, family: str, name: str) -> Any:
    if choice.name not in KNOWN:
        raise RecipeError(
            f"model.adapter: {choice.name!r} is not known.{did_you_mean(choice.name, KNOWN)} Use one of "
            f"{', '.join(KNOWN)}."
        )
    try:
        from peft import IA3Config, LoraConfig
        from peft.utils import constants
    except ImportError as error:
        raise RecipeError("model.adapter needs peft: pip install 'headway[adapters]'.") from error
    given: dict[str, Any] = {"base_model_name_or_path": name}
    if choice.name == "ia3":
        made, places = IA3Config, constants.TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING
    else:
        made, places = LoraConfig, constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
        if choice.name == "dora":
            given["use_dora"] = True
        if family not in places:
            given["target_modules"] = "all-linear"
    own = {*made.__dataclass_fields__, "target_modules"} - {*given, *_DECIDED}
    for option in choice.options:
        if option not in own:
            raise RecipeError(
                f"model.adapter: {choice.name!r} does not take {option!r}.{did_you_mean(option, own)} It takes what "
                f"peft.{made.__name__} does."
            )
    if family not in places and choice.name == "ia3" and "target_modules" not in choice.options:
        raise RecipeError(
            f"model.adapter: peft does not know where (IA)3 goes in {family} models. Say target_modules and "
            "feedforward_modules beside its name, or choose lora."
        )
    try:
        return made(**{**given, **choice.options})
    except (TypeError, ValueError) as error:
        raise RecipeError(f"model.adapter: {choice.name!r} cannot be configured: {error}") from error
