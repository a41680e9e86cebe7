"""Adapters: a few new weights are trained beside a backbone that stays as it is, through peft.

Afterwards they are saved twice: as they are, for ``peft.PeftModel`` over the same backbone, and merged into the
weights, so that the model's folder is a plain one and prediction costs nothing more. A prefix cannot be merged; it lies
in a file of its own beside the plain backbone (`headway.models.prefix`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from headway.errors import RecipeError, RunError, did_you_mean
from headway.importing import Choice
from headway.models.prefix import TASKS, check_family, prefix_of, put_prefix, sizes

KNOWN = ("lora", "dora", "ia3", "prefix")
"""LoRA (Hu et al. 2021, arXiv:2106.09685), DoRA (Liu et al. 2024, arXiv:2402.09353), (IA)3 (Liu et al. 2022,
arXiv:2205.05638), prefix tuning (Li and Liang 2021, arXiv:2101.00190)."""

_DECIDED = ("task_type", "peft_type", "inference_mode", "modules_to_save", "auto_mapping", "peft_version", "revision")
"""Options of peft's configurations that follow from the recipe."""

NUM_VIRTUAL_TOKENS = 20
"""Length of a prefix whose recipe does not say it; peft has no default."""


def add_adapter(model: Any, choice: Choice, *, kind: str, name: str, new_modules: Sequence[str]) -> None:
    """Put the adapter into ``model``, a transformers model, in place; nothing else of it is trained from now on.

    Args:
        model: the pretrained model, under its own head or plain.
        choice: one of `KNOWN`, with options of peft's configuration (``r``, ``lora_alpha``, ``target_modules``, ...).
        kind: of the model, a key of `headway.models.options.KINDS`.
        name: of the backbone, as the recipe has it.
        new_modules: names of the modules with fresh weights (the head), which are trained, too, and saved with it.

    Raises:
        RecipeError: peft is not installed, or does not take an option, or knows no place for it in this family.
    """
    config = _configuration(choice, model_config=model.config, kind=kind, name=name)
    if choice.name == "prefix":
        _add_prefix(model, config)
    else:
        _add_layers(model, config, choice.name, new_modules)
    for module_name in new_modules:
        model.get_submodule(module_name).requires_grad_(True)
    # Said only now: peft would keep two copies of each of these modules.
    config.modules_to_save = list(new_modules) or None
    model.peft_config = {"default": config}


def _add_layers(model: Any, config: Any, name: str, new_modules: Sequence[str]) -> None:
    if config.target_modules == "all-linear":
        config.exclude_modules = [
            one for one, _ in model.named_modules() if any(f"{one}.".startswith(f"{new}.") for new in new_modules)
        ]
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

    try:
        PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type](model, {"default": config}, "default")
    except ValueError as error:
        raise RecipeError(f"model.adapter: {name!r} does not fit this model: {error}") from error
    config.exclude_modules = None


def _add_prefix(model: Any, config: Any) -> None:
    from peft import PrefixEncoder

    for option in ("num_virtual_tokens", "encoder_hidden_size"):
        value = getattr(config, option)
        if type(value) is not int or value < 1:
            raise RecipeError(f"model.adapter: {option} of a prefix must be a whole number from 1, found {value!r}.")
    model.requires_grad_(False)
    put_prefix(model.base_model, PrefixEncoder(config), num_virtual_tokens=config.num_virtual_tokens)


def has_adapter(model: nn.Module) -> bool:
    """Return whether some part of the model carries an adapter as it is trained: not saved and merged yet."""
    return any(hasattr(module, "peft_config") for module in model.modules())


def save_and_merge(model: nn.Module, folder: Path) -> None:
    """Write the adapter to ``folder`` as peft reads it, then merge it into the weights of ``model``, in place.

    A prefix stays before the model: only what made it (its projection) is gone afterwards.

    Raises:
        RunError: the disk refuses.
    """
    (carrier,) = (module for module in model.modules() if hasattr(module, "peft_config"))
    _save(carrier, folder)
    prefix = prefix_of(carrier)
    if prefix is not None:
        prefix.fix()
    else:
        _merge(carrier)
    del carrier.peft_config


def _merge(carrier: Any) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(carrier.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            carrier.set_submodule(name, module.get_base_layer())


def _save(carrier: Any, folder: Path) -> None:
    config = carrier.peft_config["default"]
    content = {**config.to_dict(), "inference_mode": True}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(
            {name: one.detach().contiguous().clone() for name, one in _tensors(carrier, config).items()},
            folder / "adapter_model.safetensors",
            metadata={"format": "pt"},
        )
        (folder / "adapter_config.json").write_text(
            json.dumps(content, indent=2, sort_keys=True, default=_plain) + "\n", encoding="utf-8"
        )
    except (OSError, safetensors.SafetensorError) as error:
        raise RunError(f"Cannot write the adapter to {folder}: {error}. Free some space and start again.") from error


def _tensors(carrier: Any, config: Any) -> dict[str, Tensor]:
    """Return the weights of the adapter and of the new modules, named as peft names them in its file."""
    head: dict[str, Tensor] = {}
    for module_name in config.modules_to_save or ():
        own = carrier.get_submodule(module_name).state_dict(prefix=f"{module_name}.")
        # Names without the layers that the adapter stands around, as the plain model has them.
        head |= {name: one for name, one in own.items() if ".default" not in name and ".base_layer." not in name}
    prefix = prefix_of(carrier)
    if prefix is not None:
        return {"prompt_embeddings": prefix.embedded(), **{f"base_model.{name}": one for name, one in head.items()}}
    kept = {name.replace(".default", ""): one for name, one in carrier.state_dict().items() if ".default" in name}
    return {f"base_model.model.{name}": one for name, one in (kept | head).items()}


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else str(value)


def _configuration(choice: Choice, *, model_config: Any, kind: str, name: str) -> Any:
    if choice.name not in KNOWN:
        raise RecipeError(
            f"model.adapter: {choice.name!r} is not known.{did_you_mean(choice.name, KNOWN)} Use one of "
            f"{', '.join(KNOWN)}."
        )
    try:
        from peft import IA3Config, LoraConfig, PrefixTuningConfig
        from peft.utils import constants
    except ImportError as error:
        raise RecipeError("model.adapter needs peft: pip install 'headway[adapters]'.") from error
    family = model_config.model_type
    decided: dict[str, Any] = {"base_model_name_or_path": name}
    defaults: dict[str, Any] = {}
    if choice.name == "prefix":
        check_family(family)
        made = PrefixTuningConfig
        decided |= {**sizes(model_config), "task_type": TASKS.get(kind)}
        defaults = {"num_virtual_tokens": NUM_VIRTUAL_TOKENS, "encoder_hidden_size": model_config.hidden_size}
    elif choice.name == "ia3":
        made, places = IA3Config, constants.TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING
        if family not in places and "target_modules" not in choice.options:
            raise RecipeError(
                f"model.adapter: peft does not know where (IA)3 goes in {family} models. Say target_modules and "
                "feedforward_modules beside its name, or choose lora."
            )
    else:
        made, places = LoraConfig, constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
        if choice.name == "dora":
            decided["use_dora"] = True
        if family not in places:
            defaults["target_modules"] = "all-linear"
    own = made.__dataclass_fields__.keys() - {*decided, *_DECIDED}
    for option in choice.options:
        if option not in own:
            raise RecipeError(
                f"model.adapter: {choice.name!r} does not take {option!r}.{did_you_mean(option, own)} It takes what "
                f"peft.{made.__name__} does."
            )
    try:
        return made(**{**defaults, **choice.options, **decided})
    except (TypeError, ValueError) as error:
        raise RecipeError(f"model.adapter: {choice.name!r} cannot be configured: {error}") from error
